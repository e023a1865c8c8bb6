-- Read tables, version 1: what people and other programs read. Each `read_X_v1` stands behind the view `read_X`.
-- The order of the columns is the order of the fields of the row's class in streams/projections.py.
-- The generation is in every key: a new derivation stands beside the old one, and who reads chooses one.
-- No clock, no random value, no sequence: the same events give the same bytes.

CREATE TABLE read_positions (
    projector  text    NOT NULL,
    generation integer NOT NULL,
    stream_id  text    NOT NULL,
    version    bigint  NOT NULL,
    PRIMARY KEY (projector, generation, stream_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE  read_positions IS 'How far each projector has applied each stream; written with the rows, compare-and-set';
COMMENT ON COLUMN read_positions.projector IS 'Name with its version, such as project-balance-v1';
COMMENT ON COLUMN read_positions.generation IS 'Generation of the events';
COMMENT ON COLUMN read_positions.stream_id IS 'Project id, or company id for what comes from company-events';
COMMENT ON COLUMN read_positions.version IS 'Version of the last event applied, from 1 without gaps';

CREATE TABLE read_blocked (
    projector  text    NOT NULL,
    generation integer NOT NULL,
    stream_id  text    NOT NULL,
    version    bigint  NOT NULL,
    reason     text    NOT NULL,
    since      timestamptz NOT NULL,
    PRIMARY KEY (projector, generation, stream_id)
);
COMMENT ON TABLE  read_blocked IS 'Streams that a projector cannot go on with; `intoaec projector resume` continues them after the mend';
COMMENT ON COLUMN read_blocked.projector IS 'Name with its version, such as project-balance-v1';
COMMENT ON COLUMN read_blocked.generation IS 'Generation of the events';
COMMENT ON COLUMN read_blocked.stream_id IS 'Project id, or company id for what comes from company-events';
COMMENT ON COLUMN read_blocked.version IS 'The version that could not be applied; everything before it is in the rows';
COMMENT ON COLUMN read_blocked.reason IS 'A sentence for the person who mends it';
COMMENT ON COLUMN read_blocked.since IS 'recorded_at of the event that could not be applied (UTC)';

-- --- balance of a project -----------------------------------------------------------------------------------------

CREATE TABLE read_project_balance_v1 (
    generation         integer NOT NULL,
    project_id         text    NOT NULL,
    currency           text    NOT NULL,
    company_id         text    NOT NULL,
    last_accounting_on date    NOT NULL,
    last_version       bigint  NOT NULL,
    invoiced_gross     numeric(38,6) NOT NULL,
    invoiced_tax       numeric(38,6) NOT NULL,
    credited           numeric(38,6) NOT NULL,
    cash_received      numeric(38,6) NOT NULL,
    open_invoices      numeric(38,6) NOT NULL,
    unused_credit      numeric(38,6) NOT NULL,
    unapplied          numeric(38,6) NOT NULL,
    refunds            numeric(38,6) NOT NULL,
    credit_in          numeric(38,6) NOT NULL,
    credit_out         numeric(38,6) NOT NULL,
    applied_to_other   numeric(38,6) NOT NULL,
    credit_to_other    numeric(38,6) NOT NULL,
    PRIMARY KEY (generation, project_id, currency)
) WITH (fillfactor = 50);
COMMENT ON TABLE  read_project_balance_v1 IS 'What a project was invoiced, credited and paid, and what is open: the sums of the posting table';
COMMENT ON COLUMN read_project_balance_v1.generation IS 'Generation of the events';
COMMENT ON COLUMN read_project_balance_v1.project_id IS 'IntoAEC''s project id';
COMMENT ON COLUMN read_project_balance_v1.currency IS 'ISO 4217; amounts of two currencies are never added';
COMMENT ON COLUMN read_project_balance_v1.company_id IS 'Intuit''s realmId of the company that owns the project';
COMMENT ON COLUMN read_project_balance_v1.invoiced_gross IS 'Sum of the invoices'' totals, with tax';
COMMENT ON COLUMN read_project_balance_v1.invoiced_tax IS 'Tax in invoiced_gross';
COMMENT ON COLUMN read_project_balance_v1.credited IS 'Sum of the credit memos'' totals, with tax';
COMMENT ON COLUMN read_project_balance_v1.cash_received IS 'The project''s shares of payments, and the deposits taken on invoices';
COMMENT ON COLUMN read_project_balance_v1.open_invoices IS 'O: invoice totals less deposits, less what payments and credits settled';
COMMENT ON COLUMN read_project_balance_v1.unused_credit IS 'C: credit memos less what was used of them';
COMMENT ON COLUMN read_project_balance_v1.unapplied IS 'U: money received that settles nothing yet';
COMMENT ON COLUMN read_project_balance_v1.refunds IS 'Sum of the refund receipts; not part of the receivable';
COMMENT ON COLUMN read_project_balance_v1.credit_in IS 'Credit that came from other projects'' memos';
COMMENT ON COLUMN read_project_balance_v1.credit_out IS 'Credit of this project''s memos that went to other projects';
COMMENT ON COLUMN read_project_balance_v1.applied_to_other IS 'Payments applied to what is not kept here; negative: such a thing added to a payment';
COMMENT ON COLUMN read_project_balance_v1.credit_to_other IS 'Credit used for what is not kept here';
COMMENT ON COLUMN read_project_balance_v1.last_accounting_on IS 'The latest accounting date among the events in this row';
COMMENT ON COLUMN read_project_balance_v1.last_version IS 'Project version of the last event in this row';

CREATE VIEW read_project_balance AS
SELECT *,
       invoiced_gross - invoiced_tax             AS invoiced_net,
       open_invoices - unused_credit - unapplied AS net_receivable
FROM read_project_balance_v1;
COMMENT ON COLUMN read_project_balance.invoiced_net IS 'invoiced_gross less invoiced_tax';
COMMENT ON COLUMN read_project_balance.net_receivable IS 'N = O - C - U';

-- --- documents of a project ---------------------------------------------------------------------------------------

CREATE TABLE read_project_documents_v1 (
    generation     integer NOT NULL,
    project_id     text    NOT NULL,
    record_type    text    NOT NULL,
    record_id      text    NOT NULL,
    company_id     text    NOT NULL,
    currency       text    NOT NULL,
    correlation_id text    NOT NULL,
    version        bigint  NOT NULL,
    state          text    NOT NULL,
    customer_id    text    NOT NULL,
    doc_number     text    NOT NULL,
    issued_on      date,
    due_on         date,
    total          numeric(38,6) NOT NULL,
    tax            numeric(38,6) NOT NULL,
    deposit        numeric(38,6) NOT NULL,
    exchange_rate  numeric(38,12),
    used           numeric(38,6) NOT NULL,
    reason         text    NOT NULL,
    other_project_id text,
    revised_at     timestamptz,
    sync_token     bigint,
    PRIMARY KEY (generation, project_id, record_type, record_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE  read_project_documents_v1 IS 'Invoices, credit memos and refund receipts of a project';
COMMENT ON COLUMN read_project_documents_v1.generation IS 'Generation of the events';
COMMENT ON COLUMN read_project_documents_v1.project_id IS 'IntoAEC''s project id';
COMMENT ON COLUMN read_project_documents_v1.record_type IS 'Invoice, CreditMemo or RefundReceipt';
COMMENT ON COLUMN read_project_documents_v1.record_id IS 'QuickBooks id, unique within company and type';
COMMENT ON COLUMN read_project_documents_v1.company_id IS 'Intuit''s realmId';
COMMENT ON COLUMN read_project_documents_v1.state IS 'open: it counts; voided, deleted, moved: it does not; elsewhere: another project''s, only used here (not in the view)';
COMMENT ON COLUMN read_project_documents_v1.customer_id IS 'QuickBooks id of the customer on the document';
COMMENT ON COLUMN read_project_documents_v1.doc_number IS 'The number printed on it; not unique';
COMMENT ON COLUMN read_project_documents_v1.issued_on IS 'TxnDate';
COMMENT ON COLUMN read_project_documents_v1.due_on IS 'DueDate; NULL: none';
COMMENT ON COLUMN read_project_documents_v1.currency IS 'ISO 4217, of all amounts in this row';
COMMENT ON COLUMN read_project_documents_v1.total IS 'TotalAmt with tax; of a document that does not count: what it said last';
COMMENT ON COLUMN read_project_documents_v1.tax IS 'Tax in total';
COMMENT ON COLUMN read_project_documents_v1.deposit IS 'Money taken on the invoice itself';
COMMENT ON COLUMN read_project_documents_v1.exchange_rate IS 'Home units for one unit of the currency; NULL: home currency';
COMMENT ON COLUMN read_project_documents_v1.used IS 'Of an invoice: settled by payments and credits; of a memo: used here, moved elsewhere or paid out';
COMMENT ON COLUMN read_project_documents_v1.reason IS 'Why it is in this project: the rule that chose';
COMMENT ON COLUMN read_project_documents_v1.other_project_id IS 'Where it came from or, when moved, went to; NULL: nowhere';
COMMENT ON COLUMN read_project_documents_v1.revised_at IS 'MetaData.LastUpdatedTime of the revision shown (UTC)';
COMMENT ON COLUMN read_project_documents_v1.sync_token IS 'QuickBooks'' row version of the revision shown';
COMMENT ON COLUMN read_project_documents_v1.correlation_id IS 'What started the chain that led to the last event of this row: see `intoaec trace`';
COMMENT ON COLUMN read_project_documents_v1.version IS 'Project version of the last event in this row';

CREATE VIEW read_project_documents AS
SELECT *,
       CASE WHEN record_type = 'Invoice'
            THEN CASE WHEN state = 'open' THEN total - deposit ELSE 0 END - used END AS open_amount,
       CASE WHEN record_type = 'CreditMemo'
            THEN CASE WHEN state = 'open' THEN total ELSE 0 END - used END           AS unused_amount
FROM read_project_documents_v1
WHERE state <> 'elsewhere';
COMMENT ON COLUMN read_project_documents.open_amount IS 'Of an invoice: total - deposit - used; NULL for others';
COMMENT ON COLUMN read_project_documents.unused_amount IS 'Of a credit memo: total - used; NULL for others';

-- --- payments -----------------------------------------------------------------------------------------------------

CREATE TABLE read_payments_v1 (
    generation       integer NOT NULL,
    project_id       text    NOT NULL,
    payment_id       text    NOT NULL,
    company_id       text    NOT NULL,
    currency         text    NOT NULL,
    correlation_id   text    NOT NULL,
    version          bigint  NOT NULL,
    state            text    NOT NULL,
    customer_id      text    NOT NULL,
    reference        text    NOT NULL,
    received_on      date,
    received         numeric(38,6) NOT NULL,
    exchange_rate    numeric(38,12),
    applied          numeric(38,6) NOT NULL,
    applied_to_other numeric(38,6) NOT NULL,
    reason           text    NOT NULL,
    other_project_id text,
    revised_at       timestamptz,
    sync_token       bigint,
    PRIMARY KEY (generation, project_id, payment_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE  read_payments_v1 IS 'Each project''s share of each customer payment';
COMMENT ON COLUMN read_payments_v1.generation IS 'Generation of the events';
COMMENT ON COLUMN read_payments_v1.project_id IS 'IntoAEC''s project id';
COMMENT ON COLUMN read_payments_v1.payment_id IS 'QuickBooks Payment.Id, unique within the company';
COMMENT ON COLUMN read_payments_v1.company_id IS 'Intuit''s realmId';
COMMENT ON COLUMN read_payments_v1.state IS 'open: it counts; voided, deleted, moved: it does not; elsewhere: no share here, only an application (not in the view)';
COMMENT ON COLUMN read_payments_v1.customer_id IS 'Who paid; may be the parent of the jobs that were paid';
COMMENT ON COLUMN read_payments_v1.reference IS 'PaymentRefNum';
COMMENT ON COLUMN read_payments_v1.received_on IS 'TxnDate';
COMMENT ON COLUMN read_payments_v1.currency IS 'ISO 4217, of all amounts in this row';
COMMENT ON COLUMN read_payments_v1.received IS 'This project''s share of the cash; of a payment that does not count: what it was last';
COMMENT ON COLUMN read_payments_v1.exchange_rate IS 'Home units for one unit of the currency; NULL: home currency';
COMMENT ON COLUMN read_payments_v1.applied IS 'What invoices of this project took of it';
COMMENT ON COLUMN read_payments_v1.applied_to_other IS 'What went to things not kept here; negative: such a thing, or a credit memo, added to it';
COMMENT ON COLUMN read_payments_v1.reason IS 'Why this share is in this project: the rule that chose';
COMMENT ON COLUMN read_payments_v1.other_project_id IS 'Where the share came from or, when moved, went to; NULL: nowhere';
COMMENT ON COLUMN read_payments_v1.revised_at IS 'MetaData.LastUpdatedTime of the revision shown (UTC)';
COMMENT ON COLUMN read_payments_v1.sync_token IS 'QuickBooks'' row version of the revision shown';
COMMENT ON COLUMN read_payments_v1.correlation_id IS 'What started the chain that led to the last event of this row: see `intoaec trace`';
COMMENT ON COLUMN read_payments_v1.version IS 'Project version of the last event in this row';

CREATE VIEW read_payments AS
SELECT *, CASE WHEN state = 'open' THEN received ELSE 0 END - applied - applied_to_other AS unapplied
FROM read_payments_v1
WHERE state <> 'elsewhere';
COMMENT ON COLUMN read_payments.unapplied IS 'received - applied - applied_to_other: settles nothing yet';

CREATE TABLE read_payment_allocations_v1 (
    generation       integer NOT NULL,
    project_id       text    NOT NULL,
    payment_id       text    NOT NULL,
    source_type      text    NOT NULL,
    source_id        text    NOT NULL,
    target_type      text    NOT NULL,
    target_id        text    NOT NULL,
    currency         text    NOT NULL,
    company_id       text    NOT NULL,
    amount           numeric(38,6) NOT NULL,
    applied_on       date    NOT NULL,
    other_project_id text,
    version          bigint  NOT NULL,
    PRIMARY KEY (generation, project_id, payment_id, source_type, source_id, target_type, target_id, currency)
) WITH (fillfactor = 80);
COMMENT ON TABLE  read_payment_allocations_v1 IS 'What each payment or credit memo settles, one row for each pair';
COMMENT ON COLUMN read_payment_allocations_v1.generation IS 'Generation of the events';
COMMENT ON COLUMN read_payment_allocations_v1.project_id IS 'IntoAEC''s project id';
COMMENT ON COLUMN read_payment_allocations_v1.payment_id IS 'QuickBooks Payment.Id of the payment that made the link; a credit is linked by a payment too';
COMMENT ON COLUMN read_payment_allocations_v1.source_type IS 'Payment or CreditMemo: where the money comes from';
COMMENT ON COLUMN read_payment_allocations_v1.source_id IS 'QuickBooks id of the source';
COMMENT ON COLUMN read_payment_allocations_v1.target_type IS 'Invoice, or QuickBooks'' name of a type that is not kept here; Other: not known which';
COMMENT ON COLUMN read_payment_allocations_v1.target_id IS 'QuickBooks id of the target; empty: not known';
COMMENT ON COLUMN read_payment_allocations_v1.currency IS 'ISO 4217';
COMMENT ON COLUMN read_payment_allocations_v1.company_id IS 'Intuit''s realmId';
COMMENT ON COLUMN read_payment_allocations_v1.amount IS 'What the source settles of the target; negative: the target adds to the payment; zero: taken back (not in the view)';
COMMENT ON COLUMN read_payment_allocations_v1.applied_on IS 'The later of the two documents'' dates';
COMMENT ON COLUMN read_payment_allocations_v1.other_project_id IS 'The other project of a credit between two projects; NULL: both are of this one';
COMMENT ON COLUMN read_payment_allocations_v1.version IS 'Project version of the last event in this row';

CREATE VIEW read_payment_allocations AS SELECT * FROM read_payment_allocations_v1 WHERE amount <> 0;

-- --- customers ----------------------------------------------------------------------------------------------------

CREATE TABLE read_customers_v1 (
    generation         integer NOT NULL,
    company_id         text    NOT NULL,
    customer_id        text    NOT NULL,
    parent_customer_id text,
    display_name       text,
    full_name          text,
    active             boolean NOT NULL,
    currency           text    NOT NULL,
    mapping_state      text    NOT NULL,
    project_id         text,
    reference_number   text    NOT NULL,
    from_on            date,
    mapping_version    bigint  NOT NULL,
    version            bigint  NOT NULL,
    PRIMARY KEY (generation, company_id, customer_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE  read_customers_v1 IS 'Customers of a company and where their documents go; holds names: cleared when a company is forgotten';
COMMENT ON COLUMN read_customers_v1.generation IS 'Generation of the events';
COMMENT ON COLUMN read_customers_v1.company_id IS 'Intuit''s realmId';
COMMENT ON COLUMN read_customers_v1.customer_id IS 'QuickBooks Customer.Id, unique within the company';
COMMENT ON COLUMN read_customers_v1.parent_customer_id IS 'The customer above it; NULL: none';
COMMENT ON COLUMN read_customers_v1.display_name IS 'DisplayName; NULL: cannot be opened, the company''s key is destroyed';
COMMENT ON COLUMN read_customers_v1.full_name IS 'FullyQualifiedName, with its parents; NULL as for display_name';
COMMENT ON COLUMN read_customers_v1.active IS 'false: made inactive in QuickBooks';
COMMENT ON COLUMN read_customers_v1.currency IS 'ISO 4217, fixed for the customer''s life';
COMMENT ON COLUMN read_customers_v1.mapping_state IS 'none, mapped, released, excluded or reference_only';
COMMENT ON COLUMN read_customers_v1.project_id IS 'Where its documents go by the latest mapping; NULL: nowhere';
COMMENT ON COLUMN read_customers_v1.reference_number IS 'The number given at mapping; empty: none';
COMMENT ON COLUMN read_customers_v1.from_on IS 'Only documents dated from this day on; NULL: all';
COMMENT ON COLUMN read_customers_v1.mapping_version IS 'Rises by one with each change of the mapping; 0: never mapped';
COMMENT ON COLUMN read_customers_v1.version IS 'Company version of the last event in this row';

CREATE VIEW read_customers AS SELECT * FROM read_customers_v1;

-- --- what waits, warnings, decisions ------------------------------------------------------------------------------

CREATE TABLE read_waiting_v1 (
    generation    integer NOT NULL,
    company_id    text    NOT NULL,
    record_type   text    NOT NULL,
    record_id     text    NOT NULL,
    part          text    NOT NULL,
    cause         text    NOT NULL,
    customer_id   text    NOT NULL,
    amount        numeric(38,6),
    currency      text,
    accounting_on date,
    since         timestamptz NOT NULL,
    version       bigint  NOT NULL,
    PRIMARY KEY (generation, company_id, record_type, record_id, part)
);
COMMENT ON TABLE  read_waiting_v1 IS 'Records, or parts of payments, that reach no project until somebody or something decides';
COMMENT ON COLUMN read_waiting_v1.generation IS 'Generation of the events';
COMMENT ON COLUMN read_waiting_v1.company_id IS 'Intuit''s realmId';
COMMENT ON COLUMN read_waiting_v1.record_type IS 'QuickBooks'' name of the type';
COMMENT ON COLUMN read_waiting_v1.record_id IS 'QuickBooks id, unique within company and type';
COMMENT ON COLUMN read_waiting_v1.part IS 'Empty: the whole record; unapplied: a payment''s rest; Invoice:17: its line to that invoice';
COMMENT ON COLUMN read_waiting_v1.cause IS 'What it waits for';
COMMENT ON COLUMN read_waiting_v1.customer_id IS 'QuickBooks id of the customer on it';
COMMENT ON COLUMN read_waiting_v1.amount IS 'What is at stake; NULL: not known';
COMMENT ON COLUMN read_waiting_v1.currency IS 'ISO 4217; NULL with the amount';
COMMENT ON COLUMN read_waiting_v1.accounting_on IS 'Its date in the books; NULL: not known';
COMMENT ON COLUMN read_waiting_v1.since IS 'When it began to wait for this cause, by Intuit''s time (UTC)';
COMMENT ON COLUMN read_waiting_v1.version IS 'Company version of the last event in this row';

CREATE VIEW read_waiting AS SELECT * FROM read_waiting_v1;

CREATE TABLE read_warnings_v1 (
    generation  integer NOT NULL,
    company_id  text    NOT NULL,
    record_type text    NOT NULL,
    record_id   text    NOT NULL,
    code        text    NOT NULL,
    detail      text    NOT NULL,
    since       timestamptz NOT NULL,
    version     bigint  NOT NULL,
    PRIMARY KEY (generation, company_id, record_type, record_id, code)
);
COMMENT ON TABLE  read_warnings_v1 IS 'What a person should look at, and which blocks nothing';
COMMENT ON COLUMN read_warnings_v1.generation IS 'Generation of the events';
COMMENT ON COLUMN read_warnings_v1.company_id IS 'Intuit''s realmId';
COMMENT ON COLUMN read_warnings_v1.record_type IS 'QuickBooks'' name of the type';
COMMENT ON COLUMN read_warnings_v1.record_id IS 'QuickBooks id, unique within company and type';
COMMENT ON COLUMN read_warnings_v1.code IS 'What is wrong, such as reference_unknown';
COMMENT ON COLUMN read_warnings_v1.detail IS 'The number or id that the warning is about';
COMMENT ON COLUMN read_warnings_v1.since IS 'When it was first raised, by Intuit''s time (UTC)';
COMMENT ON COLUMN read_warnings_v1.version IS 'Company version of the last event in this row';

CREATE VIEW read_warnings AS SELECT * FROM read_warnings_v1;

CREATE TABLE read_decisions_v1 (
    generation    integer NOT NULL,
    company_id    text    NOT NULL,
    decision_id   text    NOT NULL,
    request       text    NOT NULL,
    accepted      boolean NOT NULL,
    refusal       text    NOT NULL,
    records_moved bigint  NOT NULL,
    record_type   text    NOT NULL,
    record_id     text    NOT NULL,
    asked_at      timestamptz NOT NULL,
    version       bigint  NOT NULL,
    PRIMARY KEY (generation, company_id, decision_id)
);
COMMENT ON TABLE  read_decisions_v1 IS 'Requests of people and their answers';
COMMENT ON COLUMN read_decisions_v1.generation IS 'Generation of the events';
COMMENT ON COLUMN read_decisions_v1.company_id IS 'Intuit''s realmId';
COMMENT ON COLUMN read_decisions_v1.decision_id IS 'Id of the request, given by who asked';
COMMENT ON COLUMN read_decisions_v1.request IS 'MapCustomer, ReleaseCustomer, ExcludeCustomer, AssignDocument';
COMMENT ON COLUMN read_decisions_v1.accepted IS 'false: refused';
COMMENT ON COLUMN read_decisions_v1.refusal IS 'Why it was refused, as a sentence; empty: it was not';
COMMENT ON COLUMN read_decisions_v1.records_moved IS 'Documents whose project was decided anew';
COMMENT ON COLUMN read_decisions_v1.record_type IS 'Type of the record that the request is about';
COMMENT ON COLUMN read_decisions_v1.record_id IS 'Id of the record that the request is about';
COMMENT ON COLUMN read_decisions_v1.asked_at IS 'When the person asked (UTC)';
COMMENT ON COLUMN read_decisions_v1.version IS 'Company version of the event';

CREATE VIEW read_decisions AS SELECT * FROM read_decisions_v1;

-- A view's columns say what its table's columns say.
DO $$
DECLARE
    each record;
BEGIN
    FOR each IN
        SELECT replace(c.relname, '_v1', '') AS view_name, a.attname, col_description(c.oid, a.attnum) AS meaning
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relname LIKE 'read\_%\_v1' AND c.relkind = 'r' AND a.attnum > 0
          AND c.relnamespace = current_schema()::regnamespace
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', each.view_name, each.attname, each.meaning);
    END LOOP;
END $$;
