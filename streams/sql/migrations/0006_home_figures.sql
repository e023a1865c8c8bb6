-- A project's figures in home currency, beside those in the documents' currency: columns, not a new version of the table.
-- No event written before this migration states a home side, so the rows that are there are what a rebuild would give.
-- NULL: no event of the row stated any. The release before this one knows no such column and leaves it as it is.

ALTER TABLE read_project_balance_v1
    ADD COLUMN home_currency       text,
    ADD COLUMN home_invoiced_gross numeric(38,6),
    ADD COLUMN home_credited       numeric(38,6),
    ADD COLUMN home_cash_received  numeric(38,6),
    ADD COLUMN home_open_invoices  numeric(38,6),
    ADD COLUMN home_unused_credit  numeric(38,6),
    ADD COLUMN home_unapplied      numeric(38,6),
    ADD COLUMN home_refunds        numeric(38,6),
    ADD COLUMN exchange_difference numeric(38,6);
COMMENT ON COLUMN read_project_balance_v1.home_currency IS 'In which the company keeps its books, as the events state it; NULL: no event of this row did';
COMMENT ON COLUMN read_project_balance_v1.home_invoiced_gross IS 'invoiced_gross in home currency, each invoice at its own rate; NULL, as in all of these: no event stated it';
COMMENT ON COLUMN read_project_balance_v1.home_credited IS 'credited in home currency, each memo at its own rate';
COMMENT ON COLUMN read_project_balance_v1.home_cash_received IS 'cash_received in home currency, each payment at its own rate, each deposit at its invoice''s';
COMMENT ON COLUMN read_project_balance_v1.home_open_invoices IS 'open_invoices in home currency: what is settled went off at the invoice''s rate';
COMMENT ON COLUMN read_project_balance_v1.home_unused_credit IS 'unused_credit in home currency: what is used went off at the memo''s rate';
COMMENT ON COLUMN read_project_balance_v1.home_unapplied IS 'unapplied in home currency: what is applied went off at the payment''s rate';
COMMENT ON COLUMN read_project_balance_v1.home_refunds IS 'refunds in home currency, each at its own rate';
COMMENT ON COLUMN read_project_balance_v1.exchange_difference IS 'Realised gains less losses, in home currency: what settlements took off one side more than off the other';

-- A row in home currency states nothing beside its amounts: there they are the home figures. Which currency that is, an
-- event of such a row does not say; the ledger's table of companies does.
CREATE OR REPLACE VIEW read_project_balance AS
SELECT b.generation, b.project_id, b.currency, b.company_id, b.last_accounting_on, b.last_version,
       b.invoiced_gross, b.invoiced_tax, b.credited, b.cash_received, b.open_invoices, b.unused_credit, b.unapplied,
       b.refunds, b.credit_in, b.credit_out, b.applied_to_other, b.credit_to_other,
       b.invoiced_gross - b.invoiced_tax               AS invoiced_net,
       b.open_invoices - b.unused_credit - b.unapplied AS net_receivable,
       h.home_currency, h.home_invoiced_gross, h.home_credited, h.home_cash_received, h.home_open_invoices,
       h.home_unused_credit, h.home_unapplied, h.home_refunds, h.exchange_difference,
       h.home_open_invoices - h.home_unused_credit - h.home_unapplied AS home_net_receivable
FROM read_project_balance_v1 b
LEFT JOIN ledger.companies c ON c.generation = b.generation AND c.company_id = b.company_id
LEFT JOIN LATERAL (
    SELECT b.home_currency, b.home_invoiced_gross, b.home_credited, b.home_cash_received, b.home_open_invoices,
           b.home_unused_credit, b.home_unapplied, b.home_refunds, b.exchange_difference
    WHERE b.home_currency IS NOT NULL
  UNION ALL
    SELECT b.currency, b.invoiced_gross, b.credited, b.cash_received, b.open_invoices,
           b.unused_credit, b.unapplied, b.refunds, 0
    WHERE b.home_currency IS NULL AND c.home_currency = b.currency
) h ON true;
COMMENT ON COLUMN read_project_balance.home_currency IS 'Currency of the home figures; NULL: they are not known, since the company''s rules are 1';
COMMENT ON COLUMN read_project_balance.home_invoiced_gross IS 'invoiced_gross in home currency, each invoice at its own rate';
COMMENT ON COLUMN read_project_balance.home_credited IS 'credited in home currency, each memo at its own rate';
COMMENT ON COLUMN read_project_balance.home_cash_received IS 'cash_received in home currency, each payment at its own rate, each deposit at its invoice''s';
COMMENT ON COLUMN read_project_balance.home_open_invoices IS 'open_invoices in home currency, at the invoices'' rates';
COMMENT ON COLUMN read_project_balance.home_unused_credit IS 'unused_credit in home currency, at the memos'' rates';
COMMENT ON COLUMN read_project_balance.home_unapplied IS 'unapplied in home currency, at the payments'' rates';
COMMENT ON COLUMN read_project_balance.home_refunds IS 'refunds in home currency, each at its own rate';
COMMENT ON COLUMN read_project_balance.exchange_difference IS 'Realised gains less losses, in home currency';
COMMENT ON COLUMN read_project_balance.home_net_receivable IS 'home_open_invoices - home_unused_credit - home_unapplied';
