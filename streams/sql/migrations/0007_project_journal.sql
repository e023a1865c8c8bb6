-- A project's figures as of any day, as known at any moment: every posting with its two dates, never changed again.
-- The sums of all rows of a project and currency are its row in read_project_balance.
-- And the days up to which a company's books were closed, so that later changes in that period can be listed.
-- Read by the new projector project-journal-v1; closing dates by waiting-v1: no event stated one before this migration.

CREATE TABLE read_project_journal_v1 (
    generation       integer NOT NULL,
    project_id       text    NOT NULL,
    entry            text    NOT NULL,
    company_id       text    NOT NULL,
    currency         text    NOT NULL,
    version          bigint  NOT NULL,
    event_type       text    NOT NULL,
    record_type      text    NOT NULL,
    record_id        text    NOT NULL,
    origin           text    NOT NULL,
    reason           text    NOT NULL,
    accounting_on    date    NOT NULL,
    recorded_at      timestamptz NOT NULL,
    correlation_id   text    NOT NULL,
    invoiced_gross   numeric(38,6) NOT NULL,
    invoiced_tax     numeric(38,6) NOT NULL,
    credited         numeric(38,6) NOT NULL,
    cash_received    numeric(38,6) NOT NULL,
    open_invoices    numeric(38,6) NOT NULL,
    unused_credit    numeric(38,6) NOT NULL,
    unapplied        numeric(38,6) NOT NULL,
    refunds          numeric(38,6) NOT NULL,
    credit_in        numeric(38,6) NOT NULL,
    credit_out       numeric(38,6) NOT NULL,
    applied_to_other numeric(38,6) NOT NULL,
    credit_to_other  numeric(38,6) NOT NULL,
    home_currency    text,
    home_invoiced_gross  numeric(38,6),
    home_credited        numeric(38,6),
    home_cash_received   numeric(38,6),
    home_open_invoices   numeric(38,6),
    home_unused_credit   numeric(38,6),
    home_unapplied       numeric(38,6),
    home_refunds         numeric(38,6),
    exchange_difference  numeric(38,6),
    PRIMARY KEY (generation, project_id, entry)
);
-- The company first: an index that begins as the key does would be taken for it while the table is new.
CREATE INDEX read_project_journal_of_company ON read_project_journal_v1 (company_id, generation, accounting_on);
COMMENT ON TABLE  read_project_journal_v1 IS 'What each event added to its project''s figures, one row for each posting, with its accounting date and when it was known';
COMMENT ON COLUMN read_project_journal_v1.generation IS 'Generation of the events';
COMMENT ON COLUMN read_project_journal_v1.project_id IS 'IntoAEC''s project id';
COMMENT ON COLUMN read_project_journal_v1.entry IS 'Version of the event, and the number of the posting within it: a revision takes the old back (1) and adds the new (2)';
COMMENT ON COLUMN read_project_journal_v1.company_id IS 'Intuit''s realmId';
COMMENT ON COLUMN read_project_journal_v1.currency IS 'ISO 4217, of all amounts but the home figures';
COMMENT ON COLUMN read_project_journal_v1.version IS 'Project version of the event';
COMMENT ON COLUMN read_project_journal_v1.event_type IS 'What happened, such as InvoiceRevised';
COMMENT ON COLUMN read_project_journal_v1.record_type IS 'QuickBooks'' name of the type of the record that decided it';
COMMENT ON COLUMN read_project_journal_v1.record_id IS 'Its QuickBooks id';
COMMENT ON COLUMN read_project_journal_v1.origin IS 'webhook, capture, sweep or request';
COMMENT ON COLUMN read_project_journal_v1.reason IS 'Why this project: the rule that chose';
COMMENT ON COLUMN read_project_journal_v1.accounting_on IS 'The date in the books at which the amounts count';
COMMENT ON COLUMN read_project_journal_v1.recorded_at IS 'When QuickBooks said so, or a person asked (UTC): what was known at a moment is every row up to it';
COMMENT ON COLUMN read_project_journal_v1.correlation_id IS 'What started the chain: see `intoaec trace`';
COMMENT ON COLUMN read_project_journal_v1.home_currency IS 'In which the company keeps its books, as the event states it';
COMMENT ON COLUMN read_project_journal_v1.invoiced_gross IS 'Added to invoiced, with tax';
COMMENT ON COLUMN read_project_journal_v1.invoiced_tax IS 'Added to the tax in it';
COMMENT ON COLUMN read_project_journal_v1.credited IS 'Added to credited';
COMMENT ON COLUMN read_project_journal_v1.cash_received IS 'Added to cash received';
COMMENT ON COLUMN read_project_journal_v1.open_invoices IS 'Added to O';
COMMENT ON COLUMN read_project_journal_v1.unused_credit IS 'Added to C';
COMMENT ON COLUMN read_project_journal_v1.unapplied IS 'Added to U';
COMMENT ON COLUMN read_project_journal_v1.refunds IS 'Added to refunds';
COMMENT ON COLUMN read_project_journal_v1.credit_in IS 'Credit that came from another project';
COMMENT ON COLUMN read_project_journal_v1.credit_out IS 'Credit that went to another project';
COMMENT ON COLUMN read_project_journal_v1.applied_to_other IS 'Applied to what is not kept here';
COMMENT ON COLUMN read_project_journal_v1.credit_to_other IS 'Credit that became money of a payment';
COMMENT ON COLUMN read_project_journal_v1.home_invoiced_gross IS 'The same in home currency; NULL, as in all of these: the event states none';
COMMENT ON COLUMN read_project_journal_v1.home_credited IS 'credited in home currency';
COMMENT ON COLUMN read_project_journal_v1.home_cash_received IS 'cash_received in home currency';
COMMENT ON COLUMN read_project_journal_v1.home_open_invoices IS 'open_invoices in home currency';
COMMENT ON COLUMN read_project_journal_v1.home_unused_credit IS 'unused_credit in home currency';
COMMENT ON COLUMN read_project_journal_v1.home_unapplied IS 'unapplied in home currency';
COMMENT ON COLUMN read_project_journal_v1.home_refunds IS 'refunds in home currency';
COMMENT ON COLUMN read_project_journal_v1.exchange_difference IS 'Realised gain, in home currency; negative: a loss';

CREATE VIEW read_project_journal AS SELECT * FROM read_project_journal_v1;

CREATE FUNCTION read_project_as_of(of_generation integer, of_project text, on_day date, known_at timestamptz)
RETURNS TABLE (currency text, invoiced_gross numeric, invoiced_tax numeric, credited numeric, cash_received numeric, open_invoices numeric, unused_credit numeric, unapplied numeric, refunds numeric, credit_in numeric, credit_out numeric, applied_to_other numeric, credit_to_other numeric, net_receivable numeric,
               home_currency text, home_invoiced_gross numeric, home_credited numeric, home_cash_received numeric, home_open_invoices numeric, home_unused_credit numeric, home_unapplied numeric, home_refunds numeric, exchange_difference numeric)
LANGUAGE sql STABLE AS $$
    SELECT j.currency, sum(j.invoiced_gross), sum(j.invoiced_tax), sum(j.credited), sum(j.cash_received), sum(j.open_invoices), sum(j.unused_credit), sum(j.unapplied), sum(j.refunds), sum(j.credit_in), sum(j.credit_out), sum(j.applied_to_other), sum(j.credit_to_other),
           sum(j.open_invoices - j.unused_credit - j.unapplied),
           max(j.home_currency), sum(j.home_invoiced_gross), sum(j.home_credited), sum(j.home_cash_received), sum(j.home_open_invoices), sum(j.home_unused_credit), sum(j.home_unapplied), sum(j.home_refunds), sum(j.exchange_difference)
    FROM read_project_journal_v1 j
    WHERE j.generation = of_generation AND j.project_id = of_project
      AND j.accounting_on <= on_day AND j.recorded_at <= known_at
    GROUP BY j.currency
    ORDER BY j.currency
$$;
COMMENT ON FUNCTION read_project_as_of IS 'A project''s figures at the end of an accounting day, from what was known at a moment; one row for each currency';

CREATE TABLE read_closings_v1 (
    generation integer NOT NULL,
    company_id text    NOT NULL,
    entry      text    NOT NULL,
    closed_on  date,
    noted_at   timestamptz NOT NULL,
    version    bigint  NOT NULL,
    PRIMARY KEY (generation, company_id, entry)
);
COMMENT ON TABLE  read_closings_v1 IS 'Up to which day a company''s books were closed, from which moment on';
COMMENT ON COLUMN read_closings_v1.generation IS 'Generation of the events';
COMMENT ON COLUMN read_closings_v1.company_id IS 'Intuit''s realmId';
COMMENT ON COLUMN read_closings_v1.entry IS 'Company version of the event that said so';
COMMENT ON COLUMN read_closings_v1.closed_on IS 'BookCloseDate of QuickBooks'' preferences; NULL: the books were open from here on';
COMMENT ON COLUMN read_closings_v1.noted_at IS 'When QuickBooks said so (UTC)';
COMMENT ON COLUMN read_closings_v1.version IS 'The same as a number';

CREATE VIEW read_closings AS SELECT * FROM read_closings_v1;

-- An import is no change: what the first reading of a company's history brings, and what flows in when a customer is
-- synced for the first time. What QuickBooks changed afterwards is, and what people moved.
CREATE VIEW read_closed_period_changes AS
SELECT j.*, c.closed_on
FROM read_project_journal_v1 j
JOIN LATERAL (
    SELECT closed_on FROM read_closings_v1 c
    WHERE c.generation = j.generation AND c.company_id = j.company_id AND c.noted_at < j.recorded_at
    ORDER BY c.noted_at DESC, c.version DESC LIMIT 1
) c ON j.accounting_on <= c.closed_on
WHERE j.origin IN ('webhook', 'sweep') OR j.event_type LIKE '%Moved%';
COMMENT ON VIEW read_closed_period_changes IS 'Changes dated on or before the day up to which the books were closed when the change became known';

-- A view's columns say what its tables' columns say.
DO $$
DECLARE
    each record;
BEGIN
    FOR each IN
        SELECT v.relname AS view_name, a.attname, col_description(t.oid, a.attnum) AS meaning
        FROM (VALUES ('read_project_journal', 'read_project_journal_v1'), ('read_closings', 'read_closings_v1'),
                     ('read_closed_period_changes', 'read_project_journal_v1')) of_table(view_name, table_name)
        JOIN pg_class v ON v.relname = of_table.view_name AND v.relnamespace = current_schema()::regnamespace
        JOIN pg_class t ON t.relname = of_table.table_name AND t.relnamespace = current_schema()::regnamespace
        JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', each.view_name, each.attname, each.meaning);
    END LOOP;
END $$;
COMMENT ON COLUMN read_closed_period_changes.closed_on IS 'The day up to which the books were closed when the change became known';
