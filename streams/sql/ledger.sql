-- Named queries of the ledger. Every one takes and gives sets: none stands in a loop over records.

-- name: position_lock
SELECT next_offset, slice, writer FROM ledger.positions
WHERE generation = %(generation)s AND "partition" = %(partition)s FOR UPDATE

-- name: position_create
INSERT INTO ledger.positions (generation, "partition", next_offset) VALUES (%(generation)s, %(partition)s, 0)
ON CONFLICT DO NOTHING

-- name: position_set
UPDATE ledger.positions SET next_offset = %(next_offset)s, slice = %(slice)s, writer = %(writer)s
WHERE generation = %(generation)s AND "partition" = %(partition)s
  AND next_offset = %(expected_offset)s AND slice = %(expected_slice)s

-- name: positions
SELECT "partition", next_offset FROM ledger.positions WHERE generation = %(generation)s

-- name: companies
SELECT company_id, home_currency, several_currencies, books_closed_on, reference_fields, active, rules_version, merges
FROM ledger.companies WHERE generation = %(generation)s AND company_id = ANY(%(company_ids)s)

-- name: companies_upsert
INSERT INTO ledger.companies (generation, company_id, home_currency, several_currencies, books_closed_on,
    reference_fields, active, rules_version, merges)
SELECT %(generation)s, r.* FROM jsonb_to_recordset(%(rows)s) AS r(
    company_id text, home_currency text, several_currencies boolean, books_closed_on date, reference_fields text[],
    active boolean, rules_version integer, merges jsonb)
ON CONFLICT (generation, company_id) DO UPDATE SET
    home_currency = EXCLUDED.home_currency, several_currencies = EXCLUDED.several_currencies,
    books_closed_on = EXCLUDED.books_closed_on, reference_fields = EXCLUDED.reference_fields,
    active = EXCLUDED.active, rules_version = EXCLUDED.rules_version, merges = EXCLUDED.merges

-- name: projects
SELECT a.company_id, p.project_id, p.closed, p.company_id = a.company_id AS own
FROM ledger.projects p
JOIN jsonb_to_recordset(%(asked)s) AS a(company_id text, project_id text) ON lower(p.project_id) = a.project_id
WHERE p.generation = %(generation)s

-- name: projects_upsert
INSERT INTO ledger.projects (generation, project_id, company_id, closed)
SELECT %(generation)s, r.project_id, r.company_id, r.closed
FROM jsonb_to_recordset(%(rows)s) AS r(project_id text, company_id text, closed boolean)
ON CONFLICT (generation, project_id) DO UPDATE SET closed = EXCLUDED.closed
WHERE projects.company_id = EXCLUDED.company_id

-- name: quickbooks_projects
SELECT q.company_id, q.project_ref, q.project_id, q.version
FROM ledger.quickbooks_projects q
JOIN jsonb_to_recordset(%(asked)s) AS a(company_id text, project_ref text)
  ON q.company_id = a.company_id AND q.project_ref = a.project_ref
WHERE q.generation = %(generation)s

-- name: quickbooks_projects_upsert
INSERT INTO ledger.quickbooks_projects (generation, company_id, project_ref, project_id, version)
SELECT %(generation)s, r.* FROM jsonb_to_recordset(%(rows)s) AS r(
    company_id text, project_ref text, project_id text, version integer)
ON CONFLICT (generation, company_id, project_ref) DO UPDATE SET
    project_id = EXCLUDED.project_id, version = EXCLUDED.version

-- name: reference_numbers
SELECT c.company_id, lower(s.reference_number), s.project_id, c.customer_id
FROM ledger.customers c, jsonb_to_recordset(c.scopes) AS s(project_id text, reference_number text)
JOIN jsonb_to_recordset(%(asked)s) AS a(company_id text, project_id text) ON lower(s.reference_number) = a.project_id
WHERE c.generation = %(generation)s AND c.scopes <> '[]' AND c.company_id = a.company_id

-- name: payers
SELECT l.company_id, l.record_type, l.record_id, l.payment_id
FROM ledger.links l
JOIN jsonb_to_recordset(%(asked)s) AS a(company_id text, record_type text, record_id text)
  ON l.company_id = a.company_id AND l.record_type = a.record_type AND l.record_id = a.record_id
WHERE l.generation = %(generation)s

-- name: documents
WITH asked AS (
    SELECT company_id, record_type, record_id
    FROM jsonb_to_recordset(%(asked)s) AS a(company_id text, record_type text, record_id text)
), targets AS (
    SELECT l.company_id, l.record_type, l.record_id
    FROM asked a
    JOIN ledger.links l ON l.generation = %(generation)s AND l.company_id = a.company_id AND l.payment_id = a.record_id
    WHERE a.record_type = 'Payment'
)
SELECT d.company_id, d.record_type, d.record_id, d.revised_at, d.sync_token, d.read_at, d.gone_at, d.assigned,
       d.head, d.booked, d.named, d.absent_at, d.assignment_version
FROM (SELECT * FROM asked UNION SELECT * FROM targets) k
JOIN ledger.documents d ON d.generation = %(generation)s AND d.company_id = k.company_id
    AND d.record_type = k.record_type AND d.record_id = k.record_id

-- name: customers
WITH RECURSIVE family AS (
    SELECT c.*
    FROM jsonb_to_recordset(%(asked)s) AS a(company_id text, customer_id text)
    JOIN ledger.customers c
      ON c.generation = %(generation)s AND c.company_id = a.company_id AND c.customer_id = a.customer_id
  UNION
    SELECT p.*
    FROM family f
    JOIN ledger.customers p
      ON p.generation = %(generation)s AND p.company_id = f.company_id AND p.customer_id = f.parent_id
)
SELECT company_id, customer_id, revised_at, sync_token, read_at, parent_id, active, currency, names_mac,
       mapping_state, scopes, mapping_version
FROM family

-- name: customers_with_documents
WITH RECURSIVE family AS (
    SELECT a.company_id, a.customer_id AS root, a.customer_id
    FROM jsonb_to_recordset(%(asked)s) AS a(company_id text, customer_id text)
  UNION
    SELECT f.company_id, f.root, c.customer_id
    FROM family f
    JOIN ledger.customers c
      ON c.generation = %(generation)s AND c.company_id = f.company_id AND c.parent_id = f.customer_id
)
SELECT DISTINCT f.company_id, f.root FROM family f
WHERE EXISTS (
    SELECT FROM ledger.documents d
    WHERE d.generation = %(generation)s AND d.company_id = f.company_id AND d.customer_id = f.customer_id)

-- name: documents_reached
WITH RECURSIVE family AS (
    SELECT unnest(%(customers)s::text[]) AS customer_id
  UNION
    SELECT next.customer_id
    FROM family f
    CROSS JOIN LATERAL (
        SELECT c.customer_id FROM ledger.customers c
        WHERE c.generation = %(generation)s AND c.company_id = %(company_id)s AND c.parent_id = f.customer_id
      UNION ALL
        SELECT CASE WHEN merge ->> 'kept_id' = f.customer_id THEN merge ->> 'vanished_id' ELSE merge ->> 'kept_id' END
        FROM ledger.companies o, jsonb_array_elements(o.merges) AS merge
        WHERE o.generation = %(generation)s AND o.company_id = %(company_id)s
          AND f.customer_id IN (merge ->> 'kept_id', merge ->> 'vanished_id')
    ) AS next
), of_family AS (
    SELECT d.record_type, d.record_id
    FROM ledger.documents d
    WHERE d.generation = %(generation)s AND d.company_id = %(company_id)s AND d.head IS NOT NULL
      AND d.customer_id = ANY(ARRAY(SELECT customer_id FROM family))
      AND (d.record_type, length(d.record_id), d.record_id) > (%(after_type)s, %(after_length)s, %(after_id)s)
    ORDER BY d.record_type, length(d.record_id), d.record_id LIMIT %(at_most)s
), with_reference AS (
    SELECT d.record_type, d.record_id
    FROM ledger.documents d
    WHERE d.generation = %(generation)s AND d.company_id = %(company_id)s AND d.head IS NOT NULL
      AND d.reference = ANY(%(references)s::text[])
      AND (d.record_type, length(d.record_id), d.record_id) > (%(after_type)s, %(after_length)s, %(after_id)s)
    ORDER BY d.record_type, length(d.record_id), d.record_id LIMIT %(at_most)s
), of_quickbooks_project AS (
    SELECT d.record_type, d.record_id
    FROM ledger.documents d
    WHERE d.generation = %(generation)s AND d.company_id = %(company_id)s AND d.head IS NOT NULL
      AND d.project_ref = ANY(%(project_refs)s::text[])
      AND (d.record_type, length(d.record_id), d.record_id) > (%(after_type)s, %(after_length)s, %(after_id)s)
    ORDER BY d.record_type, length(d.record_id), d.record_id LIMIT %(at_most)s
), every AS (
    SELECT d.record_type, d.record_id
    FROM ledger.documents d
    WHERE %(everything)s AND d.generation = %(generation)s AND d.company_id = %(company_id)s AND d.head IS NOT NULL
      AND (d.record_type, length(d.record_id), d.record_id) > (%(after_type)s, %(after_length)s, %(after_id)s)
    ORDER BY d.record_type, length(d.record_id), d.record_id LIMIT %(at_most)s
)
SELECT record_type, record_id
FROM (SELECT * FROM of_family UNION SELECT * FROM with_reference
      UNION SELECT * FROM of_quickbooks_project UNION SELECT * FROM every) AS reached
ORDER BY record_type, length(record_id), record_id
LIMIT %(at_most)s

-- name: documents_upsert
INSERT INTO ledger.documents AS d (generation, company_id, record_type, record_id, revised_at, sync_token, read_at,
    gone_at, customer_id, reference, assigned, head, booked, project_ref, named, absent_at, assignment_version)
SELECT %(generation)s, r.* FROM jsonb_to_recordset(%(rows)s) AS r(
    company_id text, record_type text, record_id text, revised_at timestamptz, sync_token bigint, read_at timestamptz,
    gone_at timestamptz, customer_id text, reference text, assigned text, head jsonb, booked jsonb, project_ref text,
    named jsonb, absent_at timestamptz, assignment_version integer)
ON CONFLICT (generation, company_id, record_type, record_id) DO UPDATE SET
    revised_at = EXCLUDED.revised_at, sync_token = EXCLUDED.sync_token, read_at = EXCLUDED.read_at,
    gone_at = EXCLUDED.gone_at, customer_id = EXCLUDED.customer_id, reference = EXCLUDED.reference,
    assigned = EXCLUDED.assigned, head = EXCLUDED.head, booked = EXCLUDED.booked,
    project_ref = EXCLUDED.project_ref, named = EXCLUDED.named, absent_at = EXCLUDED.absent_at,
    assignment_version = EXCLUDED.assignment_version

-- name: customers_upsert
INSERT INTO ledger.customers AS c
SELECT %(generation)s, r.company_id, r.customer_id, r.revised_at, r.sync_token, r.read_at, r.parent_id, r.active,
       r.currency, decode(r.names_mac, 'hex'), r.mapping_state, r.scopes, r.mapping_version
FROM jsonb_to_recordset(%(rows)s) AS r(
    company_id text, customer_id text, revised_at timestamptz, sync_token bigint, read_at timestamptz, parent_id text,
    active boolean, currency text, names_mac text, mapping_state text, scopes jsonb, mapping_version integer)
ON CONFLICT (generation, company_id, customer_id) DO UPDATE SET
    revised_at = EXCLUDED.revised_at, sync_token = EXCLUDED.sync_token, read_at = EXCLUDED.read_at,
    parent_id = EXCLUDED.parent_id, active = EXCLUDED.active, currency = EXCLUDED.currency,
    names_mac = EXCLUDED.names_mac, mapping_state = EXCLUDED.mapping_state, scopes = EXCLUDED.scopes,
    mapping_version = EXCLUDED.mapping_version

-- name: links_delete
DELETE FROM ledger.links l
USING jsonb_to_recordset(%(payments)s) AS p(company_id text, record_id text)
WHERE l.generation = %(generation)s AND l.company_id = p.company_id AND l.payment_id = p.record_id

-- name: links_insert
INSERT INTO ledger.links (generation, company_id, payment_id, record_type, record_id)
SELECT %(generation)s, r.company_id, r.payment_id, r.record_type, r.record_id
FROM jsonb_to_recordset(%(rows)s) AS r(company_id text, payment_id text, record_type text, record_id text)
ON CONFLICT DO NOTHING

-- name: requests_answered
SELECT r.company_id, r.decision_id FROM ledger.requests r
JOIN jsonb_to_recordset(%(asked)s) AS a(company_id text, decision_id text)
  ON r.company_id = a.company_id AND r.decision_id = a.decision_id
WHERE r.generation = %(generation)s

-- name: requests_insert
INSERT INTO ledger.requests (generation, company_id, decision_id, accepted, answer)
SELECT %(generation)s, r.* FROM jsonb_to_recordset(%(rows)s) AS r(
    company_id text, decision_id text, accepted boolean, answer text)
ON CONFLICT DO NOTHING

-- name: read_requests_insert
INSERT INTO ledger.read_requests
SELECT %(generation)s, %(partition)s, r.* FROM jsonb_to_recordset(%(rows)s) AS r(
    company_id text, record_type text, record_id text, change_id uuid, correlation_id text, requested_at timestamptz,
    why text)
ON CONFLICT DO NOTHING

-- name: read_requests_due
SELECT company_id, record_type, record_id, change_id, correlation_id, requested_at, why
FROM ledger.read_requests
WHERE generation = %(generation)s AND "partition" = ANY(%(partitions)s)
ORDER BY company_id, record_type, record_id LIMIT 1000

-- name: read_requests_done
DELETE FROM ledger.read_requests q
USING jsonb_to_recordset(%(rows)s) AS r(company_id text, record_type text, record_id text, change_id uuid)
WHERE q.generation = %(generation)s AND q."partition" = ANY(%(partitions)s) AND q.company_id = r.company_id
  AND q.record_type = r.record_type AND q.record_id = r.record_id AND q.change_id = r.change_id

-- name: versions
SELECT s.kind, s.stream_id, s.version, s.company_id
FROM ledger.streams s
JOIN jsonb_to_recordset(%(asked)s) AS a(kind text, stream_id text) ON s.kind = a.kind AND s.stream_id = a.stream_id
WHERE s.generation = %(generation)s

-- name: streams_begin
INSERT INTO ledger.streams (generation, kind, stream_id, company_id, "partition", version)
SELECT %(generation)s, r.kind, r.stream_id, r.company_id, %(partition)s, r.version
FROM jsonb_to_recordset(%(rows)s) AS r(kind text, stream_id text, company_id text, version bigint, expected bigint)
WHERE r.expected = 0
ON CONFLICT DO NOTHING

-- name: streams_advance
UPDATE ledger.streams s SET version = r.version
FROM jsonb_to_recordset(%(rows)s) AS r(kind text, stream_id text, version bigint, expected bigint)
WHERE s.generation = %(generation)s AND s.kind = r.kind AND s.stream_id = r.stream_id
  AND r.expected > 0 AND s.version = r.expected

-- name: events_due
SELECT s.kind, s.stream_id, e.version, e.event_type, e.event_id, e.value
FROM ledger.streams s
JOIN ledger.events e
  ON e.generation = s.generation AND e.kind = s.kind AND e.stream_id = s.stream_id AND e.version > s.published
WHERE s.generation = %(generation)s AND s."partition" = ANY(%(partitions)s) AND s.published < s.version
ORDER BY e.kind, e.stream_id, e.version LIMIT %(at_most)s

-- name: streams_published
UPDATE ledger.streams s SET published = greatest(s.published, r.version)
FROM jsonb_to_recordset(%(rows)s) AS r(kind text, stream_id text, version bigint)
WHERE s.generation = %(generation)s AND s.kind = r.kind AND s.stream_id = r.stream_id
