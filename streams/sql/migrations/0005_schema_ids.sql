-- Which contract each schema id means in this installation's topics, as first used and for ever.

CREATE TABLE control.schema_ids (
    schema_id integer PRIMARY KEY,
    subject   text    NOT NULL,
    version   integer NOT NULL,
    since     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (subject, version)
);
COMMENT ON TABLE control.schema_ids IS
    'a process whose files or registry say otherwise does not start: records already written would be read wrongly';
