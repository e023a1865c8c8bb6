-- The ledger: input positions, heads and what is booked of them, events. One transaction writes all of it.
-- The generation is in every key: a new derivation stands beside the old one.

CREATE SCHEMA ledger;

CREATE TABLE ledger.positions (
    generation  integer NOT NULL,
    "partition" integer NOT NULL,                -- of company-changes
    next_offset bigint  NOT NULL,                -- the first input that is not booked yet; compare-and-set
    slice       text    NOT NULL DEFAULT '',     -- how far that input is worked, when it is a large one
    writer      text    NOT NULL DEFAULT '',     -- which process wrote it: so it knows its own unconfirmed commit
    PRIMARY KEY (generation, "partition")
);

CREATE TABLE ledger.companies (
    generation         integer NOT NULL,
    company_id         text NOT NULL,
    home_currency      text NOT NULL DEFAULT '',
    several_currencies boolean NOT NULL DEFAULT false,
    books_closed_on    date,
    reference_fields   text[] NOT NULL DEFAULT '{}', -- DefinitionIds of the field "Reference Number", by the company's facts
    active             boolean NOT NULL DEFAULT false,
    rules_version      integer NOT NULL DEFAULT 1,
    PRIMARY KEY (generation, company_id)
);

CREATE TABLE ledger.projects (
    generation integer NOT NULL,
    project_id text NOT NULL,
    company_id text NOT NULL,
    closed     boolean NOT NULL DEFAULT false,
    PRIMARY KEY (generation, project_id)
);
CREATE INDEX projects_by_reference ON ledger.projects (generation, lower(project_id));

CREATE TABLE ledger.customers (
    generation      integer NOT NULL,
    company_id      text NOT NULL,
    customer_id     text NOT NULL,
    revised_at      timestamptz NOT NULL,
    sync_token      bigint NOT NULL,
    read_at         timestamptz NOT NULL,
    parent_id       text,
    active          boolean NOT NULL,
    currency        text NOT NULL,
    names_mac       bytea NOT NULL,              -- keyed with the company's key: tells "renamed", tells no name
    mapping_state   text NOT NULL DEFAULT 'none',-- none, mapped, released, excluded, reference_only
    scopes          jsonb NOT NULL DEFAULT '[]', -- [{project_id, from_on, reference_number}], by from_on
    mapping_version integer NOT NULL DEFAULT 0,
    PRIMARY KEY (generation, company_id, customer_id)
);
CREATE INDEX customers_of_parent ON ledger.customers (generation, company_id, parent_id);
CREATE INDEX customers_with_reference ON ledger.customers (generation, company_id) WHERE scopes <> '[]';

CREATE TABLE ledger.documents (
    generation   integer NOT NULL,
    company_id   text NOT NULL,
    record_type  text NOT NULL,                  -- Invoice, CreditMemo, RefundReceipt, Payment
    record_id    text NOT NULL,
    revised_at   timestamptz,                    -- order of revisions: revised_at, sync_token, read_at
    sync_token   bigint,
    read_at      timestamptz NOT NULL,
    gone_at      timestamptz,                    -- deleted in QuickBooks
    customer_id  text,
    reference    text,                           -- the Reference Number on it, trimmed and lower case
    assigned     text,                           -- the project a person assigned it to
    head         jsonb,                          -- what QuickBooks said last, accounting fields only; NULL: never read
    booked       jsonb NOT NULL DEFAULT '{}',    -- what the events so far amount to
    PRIMARY KEY (generation, company_id, record_type, record_id)
);
CREATE INDEX documents_of_customer ON ledger.documents (generation, company_id, customer_id);
CREATE INDEX documents_in_order ON ledger.documents (generation, company_id, record_type, length(record_id), record_id);
CREATE INDEX documents_with_reference ON ledger.documents (generation, company_id, reference) WHERE reference IS NOT NULL;

CREATE TABLE ledger.links (                      -- which payments name which invoices and memos
    generation  integer NOT NULL,
    company_id  text NOT NULL,
    payment_id  text NOT NULL,
    record_type text NOT NULL,
    record_id   text NOT NULL,
    PRIMARY KEY (generation, company_id, payment_id, record_type, record_id)
);
CREATE INDEX links_to ON ledger.links (generation, company_id, record_type, record_id);

CREATE TABLE ledger.streams (
    generation  integer NOT NULL,
    kind        text    NOT NULL,                -- project or company
    stream_id   text    NOT NULL,
    company_id  text    NOT NULL,
    "partition" integer NOT NULL,                -- of company-changes: who publishes it
    version     bigint  NOT NULL,                -- of the last event
    published   bigint  NOT NULL DEFAULT 0,      -- acknowledged by the broker up to here; never lowered
    PRIMARY KEY (generation, kind, stream_id)
) WITH (fillfactor = 50);
CREATE INDEX streams_unpublished ON ledger.streams (generation, "partition") WHERE published < version;

CREATE TABLE ledger.events (
    generation   integer NOT NULL,
    kind         text    NOT NULL,
    stream_id    text    NOT NULL,
    version      bigint  NOT NULL,
    event_id     uuid    NOT NULL,
    event_type   text    NOT NULL,
    "partition"  integer NOT NULL,               -- of the input that decided it
    input_offset bigint  NOT NULL,
    value        bytea   NOT NULL,               -- as published
    PRIMARY KEY (generation, kind, stream_id, version)
);
CREATE INDEX events_of_input ON ledger.events (generation, "partition", input_offset);

CREATE TABLE ledger.inputs (                     -- the trail: every input and what became of it
    generation     integer NOT NULL,
    "partition"    integer NOT NULL,
    "offset"       bigint  NOT NULL,
    change_id      uuid    NOT NULL,
    company_id     text    NOT NULL,
    change_type    text    NOT NULL,
    record_type    text    NOT NULL,
    record_id      text    NOT NULL,
    origin         text    NOT NULL,
    recorded_at    timestamptz NOT NULL,
    correlation_id text    NOT NULL,
    outcome        text    NOT NULL,             -- booked, no difference, older than known, refused, parked
    PRIMARY KEY (generation, "partition", "offset")
);
CREATE INDEX inputs_of_record ON ledger.inputs (company_id, record_type, record_id);

CREATE TABLE ledger.causes (                     -- every notification that an input answers
    generation  integer NOT NULL,
    cause_id    text    NOT NULL,
    "partition" integer NOT NULL,
    "offset"    bigint  NOT NULL,
    PRIMARY KEY (generation, cause_id, "partition", "offset")
);

CREATE TABLE ledger.requests (                   -- a decision is answered once
    generation  integer NOT NULL,
    company_id  text NOT NULL,
    decision_id text NOT NULL,
    accepted    boolean NOT NULL,
    answer      text NOT NULL,
    PRIMARY KEY (generation, company_id, decision_id)
);

CREATE TABLE ledger.read_requests (              -- outbox: published to read-requests, then deleted
    generation     integer NOT NULL,
    "partition"    integer NOT NULL,
    company_id     text NOT NULL,
    record_type    text NOT NULL,
    record_id      text NOT NULL,
    change_id      uuid NOT NULL,                -- the input that needs it
    correlation_id text NOT NULL,
    requested_at   timestamptz NOT NULL,         -- recorded_at of that input
    why            text NOT NULL,
    PRIMARY KEY (generation, "partition", company_id, record_type, record_id)
);
