-- Named queries of parking.

-- name: park
INSERT INTO control.parked (step, topic, "partition", "offset", key, value, headers, record_type, record_id, reason,
                            error_type, build)
SELECT r.step, r.topic, r."partition", r."offset", r.key, decode(r.value, 'hex'), r.headers, r.record_type,
       r.record_id, r.reason, r.error_type, r.build
FROM jsonb_to_recordset(%(rows)s) AS r(
    step text, topic text, "partition" integer, "offset" bigint, key text, value text, headers jsonb,
    record_type text, record_id text, reason text, error_type text, build text)
ON CONFLICT DO NOTHING

-- name: parked_lately
SELECT count(*) FROM control.parked
WHERE step = %(step)s AND resolution IS NULL AND parked_at > now() - make_interval(secs => %(within_s)s)

-- name: supersede
UPDATE control.parked p SET resolution = 'superseded', resolved_at = now()
FROM jsonb_to_recordset(%(rows)s) AS r(key text, record_type text, record_id text)
WHERE p.step = %(step)s AND p.resolution IS NULL AND p.key = r.key AND p.record_type = r.record_type
  AND p.record_id = r.record_id

-- name: unpublished
SELECT step, topic, "partition", "offset", key, value, reason, error_type, build, parked_at
FROM control.parked WHERE NOT published ORDER BY parked_at, topic, "partition", "offset" LIMIT %(at_most)s

-- name: published
UPDATE control.parked p SET published = true
FROM jsonb_to_recordset(%(rows)s) AS r(step text, topic text, "partition" integer, "offset" bigint)
WHERE p.step = r.step AND p.topic = r.topic AND p."partition" = r."partition" AND p."offset" = r."offset"
