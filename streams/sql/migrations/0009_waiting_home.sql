-- What waits in another currency, in home currency as well: columns, not a new version of the table, for no event written
-- before this migration states it. The release before this one knows no such column and leaves it as it is.

ALTER TABLE read_waiting_v1
    ADD COLUMN home_amount   numeric(38,6),
    ADD COLUMN home_currency text;
COMMENT ON COLUMN read_waiting_v1.home_amount IS 'amount in home currency, at the record''s own rate; NULL: no event stated it';
COMMENT ON COLUMN read_waiting_v1.home_currency IS 'In which the company keeps its books, as the event states it; NULL with home_amount';

CREATE OR REPLACE VIEW read_waiting AS
SELECT w.generation, w.company_id, w.record_type, w.record_id, w.part, w.cause, w.customer_id, w.amount, w.currency,
       w.accounting_on, w.since, w.version,
       CASE WHEN w.home_amount IS NULL AND c.home_currency = w.currency THEN w.amount ELSE w.home_amount END
           AS home_amount,
       CASE WHEN w.home_amount IS NULL AND c.home_currency = w.currency THEN w.currency ELSE w.home_currency END
           AS home_currency
FROM read_waiting_v1 w
LEFT JOIN ledger.companies c ON c.generation = w.generation AND c.company_id = w.company_id;
COMMENT ON COLUMN read_waiting.home_amount IS 'amount in home currency, at the record''s own rate; NULL: it is not known, since the company''s rules are 1 or 2';
COMMENT ON COLUMN read_waiting.home_currency IS 'Currency of home_amount';
