-- What `intoaec status` and `intoaec trace` ask.

-- name: companies
SELECT company_id, name, state, webhook_at, gap_since, swept_until FROM control.companies ORDER BY company_id

-- name: parked
SELECT step, count(*), min(parked_at) FROM control.parked WHERE resolution IS NULL GROUP BY step ORDER BY step

-- name: blocked
SELECT projector, stream_id, version, reason, since FROM read_blocked WHERE generation = %(generation)s
ORDER BY projector, stream_id

-- name: unpublished
SELECT kind, count(*), sum(version - published)::bigint FROM ledger.streams
WHERE generation = %(generation)s AND published < version GROUP BY kind ORDER BY kind

-- name: running
SELECT p."partition", p.next_offset, p.slice FROM ledger.positions p
WHERE p.generation = %(generation)s AND p.slice <> '' ORDER BY p."partition"

-- name: inputs_of_cause
SELECT DISTINCT i."partition", i."offset", i.change_id, i.company_id, i.change_type, i.record_type, i.record_id,
       i.origin, i.recorded_at, i.correlation_id, i.outcome
FROM ledger.causes c JOIN ledger.inputs i USING (generation, "partition", "offset")
WHERE c.generation = %(generation)s AND c.cause_id = %(cause)s
ORDER BY i.recorded_at DESC, i."offset" DESC LIMIT %(at_most)s

-- name: inputs_of_record
SELECT "partition", "offset", change_id, company_id, change_type, record_type, record_id,
       origin, recorded_at, correlation_id, outcome
FROM ledger.inputs
WHERE generation = %(generation)s AND company_id = %(company)s AND record_type = %(type)s AND record_id = %(id)s
ORDER BY recorded_at DESC, "offset" DESC LIMIT %(at_most)s

-- name: input_of_version
SELECT i."partition", i."offset", i.change_id, i.company_id, i.change_type, i.record_type, i.record_id,
       i.origin, i.recorded_at, i.correlation_id, i.outcome
FROM ledger.events e
JOIN ledger.inputs i ON i.generation = e.generation AND i."partition" = e."partition" AND i."offset" = e.input_offset
WHERE e.generation = %(generation)s AND e.kind = 'project' AND e.stream_id = %(project)s AND e.version = %(version)s

-- name: events_of_input
SELECT kind, stream_id, version, event_type, value FROM ledger.events
WHERE generation = %(generation)s AND "partition" = %(partition)s AND input_offset = %(offset)s
ORDER BY kind DESC, stream_id, version LIMIT %(at_most)s

-- name: positions_of_stream
SELECT projector, version FROM read_positions WHERE generation = %(generation)s AND stream_id = %(stream)s
