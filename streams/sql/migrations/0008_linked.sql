-- QuickBooks projects that people linked, merges of customers, and what a document has named so far.

CREATE TABLE ledger.quickbooks_projects (
    generation  integer NOT NULL,
    company_id  text NOT NULL,
    project_ref text NOT NULL,                    -- QuickBooks' ProjectRef: an id space of its own, no customer id
    project_id  text,                             -- NULL: the link was taken back
    version     integer NOT NULL,                 -- rises by one with each change of the link
    PRIMARY KEY (generation, company_id, project_ref)
);

ALTER TABLE ledger.companies ADD COLUMN merges jsonb NOT NULL DEFAULT '[]';
COMMENT ON COLUMN ledger.companies.merges IS 'customers that QuickBooks merged, see streams.books.Merge';

ALTER TABLE ledger.documents
    ADD COLUMN project_ref        text,
    ADD COLUMN named              jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN absent_at          timestamptz,
    ADD COLUMN assignment_version integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN ledger.documents.project_ref IS 'the project of QuickBooks that it names';
COMMENT ON COLUMN ledger.documents.named IS 'customers that it was seen to name, each with its first and last revision';
COMMENT ON COLUMN ledger.documents.absent_at IS 'QuickBooks said that it is not there, and nobody had announced a delete';
COMMENT ON COLUMN ledger.documents.assignment_version IS 'rises by one with each assignment by a person';

UPDATE ledger.documents SET
    project_ref = head ->> 'project_ref',
    named = CASE WHEN customer_id IS NULL OR revised_at IS NULL THEN '{}'
            ELSE jsonb_build_object(customer_id, jsonb_build_array(revised_at, revised_at)) END,
    assignment_version = CASE WHEN assigned IS NULL THEN 0 ELSE 1 END
WHERE head IS NOT NULL;
CREATE INDEX documents_of_quickbooks_project ON ledger.documents (generation, company_id, project_ref)
    WHERE project_ref IS NOT NULL;
