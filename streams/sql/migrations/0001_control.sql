-- Control data: no accounting state. Connections, keys, tokens, reads, calls, claims, parked records.

CREATE SCHEMA control;

CREATE TABLE control.companies (
    company_id      text PRIMARY KEY,
    organisation_id text NOT NULL,
    name            text NOT NULL DEFAULT '',
    state           text NOT NULL,               -- not_connected, authorising, connected, active, reconnect_needed, paused, disconnected
    connected_at    timestamptz,
    gap_since       timestamptz,                 -- changes since then may be unread; NULL: none
    gaps_noted      bigint NOT NULL DEFAULT 0,   -- rises with every note, so that a note during a sweep is seen at its end
    swept_until     timestamptz,                 -- Intuit's time: everything changed before it has been read
    swept_at        timestamptz,                 -- our time of that sweep's end
    webhook_at      timestamptz                  -- receipt of the last notification
);
COMMENT ON COLUMN control.companies.gap_since IS 'repair reads everything that changed since then, then clears it';

CREATE TABLE control.company_keys (
    company_id    text PRIMARY KEY,
    master_key_id text  NOT NULL,                -- which master key wraps it
    wrapped       bytea,                         -- NULL: destroyed, the company is forgotten
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE control.tokens (
    company_id              text PRIMARY KEY REFERENCES control.companies,
    sealed_access           bytea NOT NULL,
    sealed_refresh          bytea NOT NULL,
    sealed_previous_refresh bytea,
    access_expires_at       timestamptz NOT NULL,
    refresh_expires_at      timestamptz NOT NULL, -- rolling: 100 days unused
    refresh_hard_expires_at timestamptz,          -- 5 years, whatever is done
    refreshed_at            timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE control.authorisations (
    state           text PRIMARY KEY,            -- SHA-256 of the OAuth state: one use, ten minutes
    organisation_id text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE control.reads (
    company_id  text NOT NULL,
    record_type text NOT NULL,
    record_id   text NOT NULL,
    read_at     timestamptz NOT NULL,            -- Intuit's time of the last answer that was published
    revised_at  timestamptz,                     -- what that answer showed; NULL: it said that the record is gone
    PRIMARY KEY (company_id, record_type, record_id)
);

CREATE TABLE control.calls (
    company_id text NOT NULL,
    month      date NOT NULL,                    -- its first day
    route      text NOT NULL,                    -- read, query, cdc, batch
    calls      bigint NOT NULL DEFAULT 0,
    metered    bigint NOT NULL DEFAULT 0,        -- successful ones, which Intuit counts
    PRIMARY KEY (company_id, month, route)
);
CREATE INDEX calls_of_month ON control.calls (month) INCLUDE (metered);

CREATE TABLE control.limiter (                   -- one row a company, shared by all processes
    company_id    text PRIMARY KEY,
    next_at       timestamptz,                   -- when the next call may start
    blocked_until timestamptz                    -- after a 429
);

CREATE TABLE control.unread (                    -- to be read as soon as the company can be: what no sweep would find
    company_id   text NOT NULL,
    record_type  text NOT NULL,
    record_id    text NOT NULL,
    announced_at timestamptz,                    -- of a delete; NULL: none was announced
    caused_at    timestamptz NOT NULL,           -- of the newest cause
    cause_id     text NOT NULL,
    origin       text NOT NULL,
    noted_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (company_id, record_type, record_id)
);

CREATE TABLE control.jobs (                      -- long work of repair, one job of a kind at a time for a company
    company_id  text NOT NULL,
    kind        text NOT NULL,                   -- sweep
    cursor      jsonb NOT NULL DEFAULT '{}',     -- where to go on after a crash
    lease_id    uuid,                            -- who works on it
    lease_until timestamptz,                     -- until then nobody else does
    PRIMARY KEY (company_id, kind)
);

CREATE TABLE control.project_owners (
    project_id text PRIMARY KEY,                 -- a project belongs to one company
    company_id text NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE control.parked (
    step        text NOT NULL,
    topic       text NOT NULL,
    "partition" integer NOT NULL,
    "offset"    bigint NOT NULL,
    key         text NOT NULL,
    value       bytea,
    headers     jsonb NOT NULL DEFAULT '{}',
    record_type text,                            -- when it is known: a newer read supersedes it
    record_id   text,
    reason      text NOT NULL,
    error_type  text NOT NULL,
    build       text NOT NULL,
    parked_at   timestamptz NOT NULL DEFAULT now(),
    published   boolean NOT NULL DEFAULT false,  -- in the topic `parked`
    resolution  text,                            -- redriven, superseded, dismissed; NULL: waits for a person
    resolved_at timestamptz,
    PRIMARY KEY (step, topic, "partition", "offset")
);
CREATE INDEX parked_open ON control.parked (parked_at) WHERE resolution IS NULL;
CREATE INDEX parked_unpublished ON control.parked (parked_at) WHERE NOT published;
