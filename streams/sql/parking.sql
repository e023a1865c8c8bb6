-- Parked records: step, topic, partition and offset name one record for ever.

-- name: park
INSERT INTO control.parked (step, topic, "partition", "offset", key, value, headers, record_type, record_id,
                            reason, error_type, build)
VALUES (%(step)s, %(topic)s, %(partition)s, %(offset)s, %(key)s, %(value)s, %(headers)s, %(record_type)s, %(record_id)s,
        %(reason)s, %(error_type)s, %(build)s)
ON CONFLICT DO NOTHING

-- name: park_published
INSERT INTO control.parked (step, topic, "partition", "offset", key, value, reason, error_type, build, published)
VALUES (%(step)s, %(topic)s, %(partition)s, %(offset)s, %(key)s, %(value)s, %(reason)s, %(error_type)s, %(build)s, true)
ON CONFLICT DO NOTHING

-- name: parked_lately
SELECT count(*) FROM control.parked
WHERE step = %(step)s AND resolution IS NULL AND parked_at > now() - make_interval(secs => %(within_s)s)

-- name: unpublished
SELECT step, topic, "partition", "offset", key, value, reason, error_type, build, parked_at
FROM control.parked WHERE NOT published ORDER BY parked_at, step, topic, "partition", "offset" LIMIT %(at_most)s

-- name: mark_published
UPDATE control.parked SET published = true
WHERE step = %(step)s AND topic = %(topic)s AND "partition" = %(partition)s AND "offset" = %(offset)s

-- name: supersede
UPDATE control.parked p SET resolution = 'superseded', resolved_at = now()
FROM jsonb_to_recordset(%(rows)s) AS r(key text, record_type text, record_id text, "offset" bigint)
WHERE p.resolution IS NULL AND p.step = %(step)s AND p.key = r.key AND p.record_type = r.record_type
  AND p.record_id = r.record_id AND p."offset" < r."offset"

-- name: list
SELECT step, topic, "partition", "offset", key, record_type, record_id, reason, error_type, parked_at, resolution
FROM control.parked WHERE resolution IS NULL OR %(resolved_too)s
ORDER BY parked_at DESC, step, topic, "partition", "offset" DESC LIMIT %(at_most)s

-- name: show
SELECT step, topic, "partition", "offset", key, record_type, record_id, reason, error_type, parked_at, resolution,
       value, headers, build
FROM control.parked
WHERE step = %(step)s AND topic = %(topic)s AND "partition" = %(partition)s AND "offset" = %(offset)s

-- name: resolve
UPDATE control.parked SET resolution = %(resolution)s, resolved_at = now(), resolved_because = %(because)s
WHERE resolution IS NULL
  AND step = %(step)s AND topic = %(topic)s AND "partition" = %(partition)s AND "offset" = %(offset)s
