-- Named queries over the schema control: no accounting state.

-- name: keys_of
SELECT company_id, master_key_id, wrapped FROM control.company_keys WHERE company_id = ANY (%(company_ids)s);

-- name: key_create
INSERT INTO control.company_keys (company_id, master_key_id, wrapped) VALUES (%s, %s, %s)
ON CONFLICT (company_id) DO NOTHING;

-- name: key_destroy
INSERT INTO control.company_keys (company_id, master_key_id, wrapped)
VALUES (%(company_id)s, %(master_key_id)s, NULL)
ON CONFLICT (company_id) DO UPDATE SET wrapped = NULL;

-- name: keys_to_rewrap
SELECT company_id, master_key_id, wrapped FROM control.company_keys
WHERE master_key_id <> %(current)s AND wrapped IS NOT NULL
ORDER BY company_id LIMIT %(at_once)s FOR UPDATE;

-- name: key_rewrap
UPDATE control.company_keys SET master_key_id = %s, wrapped = %s WHERE company_id = %s;

-- name: limiter_lock
INSERT INTO control.limiter (company_id) VALUES (%(company_id)s)
ON CONFLICT (company_id) DO UPDATE SET company_id = excluded.company_id
RETURNING next_at, blocked_until, clock_timestamp();

-- name: limiter_store
UPDATE control.limiter SET next_at = %(next_at)s WHERE company_id = %(company_id)s;

-- name: limiter_block
INSERT INTO control.limiter (company_id, blocked_until)
VALUES (%(company_id)s, now() + make_interval(secs => %(seconds)s))
ON CONFLICT (company_id) DO UPDATE SET blocked_until = greatest(limiter.blocked_until, excluded.blocked_until)
RETURNING blocked_until;

-- name: calls_add
INSERT INTO control.calls (company_id, month, route, calls, metered)
VALUES (%s, date_trunc('month', now() AT TIME ZONE 'UTC')::date, %s, %s, %s)
ON CONFLICT (company_id, month, route)
DO UPDATE SET calls = calls.calls + excluded.calls, metered = calls.metered + excluded.metered;

-- name: calls_of_month
SELECT coalesce(sum(metered), 0)::bigint, (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC'
FROM control.calls WHERE month = date_trunc('month', now() AT TIME ZONE 'UTC')::date;

-- name: authorisation_start
WITH old AS (DELETE FROM control.authorisations WHERE created_at < now() - interval '10 minutes')
INSERT INTO control.authorisations (state, organisation_id) VALUES (%(state)s, %(organisation_id)s);

-- name: authorisation_take
DELETE FROM control.authorisations WHERE state = %(state)s
RETURNING organisation_id, created_at > now() - interval '10 minutes';

-- name: organisation_lock
SELECT pg_advisory_xact_lock(hashtextextended(%(organisation_id)s, 4201902));

-- name: organisation_has_other
SELECT company_id FROM control.companies
WHERE organisation_id = %(organisation_id)s AND company_id <> %(company_id)s
  AND state NOT IN ('disconnected', 'not_connected') LIMIT 1;

-- name: company_bind
-- What was not read while the grant was away is unread from the last time the grant was surely good.
INSERT INTO control.companies AS c (company_id, organisation_id, name, state, connected_at, gap_since, gaps_noted)
VALUES (%(company_id)s, %(organisation_id)s, %(name)s, 'connected', now(), '1970-01-01Z', 1)
ON CONFLICT (company_id) DO UPDATE SET
    state = 'connected', name = excluded.name, connected_at = now(), gaps_noted = c.gaps_noted + 1,
    gap_since = coalesce(
        least(c.gap_since, c.swept_until, (SELECT refreshed_at FROM control.tokens t WHERE t.company_id = c.company_id)),
        '1970-01-01Z')
WHERE c.organisation_id = excluded.organisation_id
RETURNING gap_since;

-- name: tokens_store
INSERT INTO control.tokens AS t (company_id, sealed_access, sealed_refresh, access_expires_at, refresh_expires_at, refresh_hard_expires_at)
VALUES (%(company_id)s, %(access)s, %(refresh)s, now() + make_interval(secs => %(access_s)s),
        now() + make_interval(secs => %(refresh_s)s), now() + make_interval(secs => %(hard_s)s))
ON CONFLICT (company_id) DO UPDATE SET
    sealed_previous_refresh = t.sealed_refresh, sealed_access = excluded.sealed_access,
    sealed_refresh = excluded.sealed_refresh, access_expires_at = excluded.access_expires_at,
    refresh_expires_at = excluded.refresh_expires_at,
    refresh_hard_expires_at = coalesce(excluded.refresh_hard_expires_at, t.refresh_hard_expires_at), refreshed_at = now();

-- name: tokens_lock
SELECT t.sealed_access, t.sealed_refresh, extract(epoch FROM t.access_expires_at - clock_timestamp())::float8, c.state
FROM control.tokens t JOIN control.companies c USING (company_id)
WHERE t.company_id = %(company_id)s FOR UPDATE OF t;

-- name: tokens_read
SELECT t.sealed_access, t.sealed_refresh, extract(epoch FROM t.access_expires_at - clock_timestamp())::float8, c.state
FROM control.tokens t JOIN control.companies c USING (company_id)
WHERE t.company_id = %(company_id)s;

-- name: grant_gone
-- Told once: only the change of state returns a row.
UPDATE control.companies c SET state = 'reconnect_needed', gaps_noted = gaps_noted + 1,
    gap_since = least(c.gap_since, (SELECT refreshed_at FROM control.tokens t WHERE t.company_id = c.company_id))
WHERE company_id = %(company_id)s AND state NOT IN ('reconnect_needed', 'disconnected', 'not_connected')
RETURNING company_id;

-- name: known_companies
SELECT company_id, state IN ('connected', 'active'), swept_until
FROM control.companies WHERE company_id = ANY (%(company_ids)s);

-- name: known_reads
SELECT r.company_id, r.record_type, r.record_id, r.read_at, r.revised_at
FROM unnest(%(companies)s::text[], %(types)s::text[], %(ids)s::text[]) AS k (company_id, record_type, record_id)
JOIN control.reads r USING (company_id, record_type, record_id);

-- name: gaps_note
UPDATE control.companies c SET gap_since = least(c.gap_since, n.since), gaps_noted = c.gaps_noted + 1
FROM unnest(%(companies)s::text[], %(since)s::timestamptz[]) AS n (company_id, since)
WHERE c.company_id = n.company_id;

-- name: unread_note
INSERT INTO control.unread AS u (company_id, record_type, record_id, announced_at, caused_at, cause_id, origin)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (company_id, record_type, record_id) DO UPDATE SET
    announced_at = greatest(u.announced_at, excluded.announced_at), caused_at = greatest(u.caused_at, excluded.caused_at),
    cause_id = excluded.cause_id, origin = excluded.origin, noted_at = now();

-- name: unread_of
SELECT record_type, record_id, announced_at, caused_at, cause_id, origin FROM control.unread
WHERE company_id = %(company_id)s ORDER BY record_type, record_id LIMIT %(at_once)s;

-- name: unread_done
-- What was noted again since stays.
DELETE FROM control.unread
WHERE company_id = %s AND record_type = %s AND record_id = %s AND caused_at <= %s;

-- name: reads_note
INSERT INTO control.reads AS r (company_id, record_type, record_id, read_at, revised_at)
SELECT * FROM unnest(%(companies)s::text[], %(types)s::text[], %(ids)s::text[], %(read_at)s::timestamptz[], %(revised_at)s::timestamptz[])
ON CONFLICT (company_id, record_type, record_id)
DO UPDATE SET read_at = excluded.read_at, revised_at = excluded.revised_at WHERE r.read_at < excluded.read_at;

-- name: webhooks_note
UPDATE control.companies c SET webhook_at = greatest(c.webhook_at, n.at)
FROM unnest(%(companies)s::text[], %(at)s::timestamptz[]) AS n (company_id, at)
WHERE c.company_id = n.company_id;

-- name: sweep_claim
-- The company with the oldest gap that can be read and that nobody works on.
WITH due AS (
    SELECT c.company_id FROM control.companies c
    LEFT JOIN control.limiter l USING (company_id)
    LEFT JOIN control.jobs j ON j.company_id = c.company_id AND j.kind = 'sweep'
    WHERE c.state IN ('connected', 'active')
      AND (c.gap_since IS NOT NULL
           OR c.state = 'connected'
           OR EXISTS (SELECT FROM control.unread u WHERE u.company_id = c.company_id)
           OR c.swept_at < now() - make_interval(secs => %(every_s)s))
      AND (l.blocked_until IS NULL OR l.blocked_until < now())
      AND (j.lease_until IS NULL OR j.lease_until < now())
    ORDER BY c.gap_since NULLS LAST, c.swept_at NULLS FIRST, c.company_id
    LIMIT 1 FOR UPDATE OF c SKIP LOCKED
), claimed AS (
    INSERT INTO control.jobs AS j (company_id, kind, lease_id, lease_until)
    SELECT company_id, 'sweep', %(lease_id)s, now() + make_interval(secs => %(lease_s)s) FROM due
    ON CONFLICT (company_id, kind) DO UPDATE SET lease_id = excluded.lease_id, lease_until = excluded.lease_until
    WHERE j.lease_until IS NULL OR j.lease_until < now()
    RETURNING j.company_id, j.cursor
)
SELECT c.company_id, c.gap_since, c.gaps_noted, c.swept_until, c.state = 'active',
    coalesce(c.swept_at < now() - make_interval(secs => %(every_s)s), false), claimed.cursor
FROM claimed JOIN control.companies c USING (company_id);

-- name: sweep_progress
UPDATE control.jobs SET cursor = %(cursor)s, lease_until = now() + make_interval(secs => %(lease_s)s)
WHERE company_id = %(company_id)s AND kind = 'sweep' AND lease_id = %(lease_id)s
RETURNING company_id;

-- name: sweep_release
UPDATE control.jobs SET lease_id = NULL, lease_until = now() + make_interval(secs => %(again_in_s)s)
WHERE company_id = %(company_id)s AND kind = 'sweep' AND lease_id = %(lease_id)s;

-- name: sweep_close
-- Only the gap that was swept is closed. What was noted meanwhile may be newer than what was read: it is swept again,
-- from where this sweep began to read.
UPDATE control.companies SET
    gap_since = CASE WHEN gaps_noted = %(gaps_noted)s AND NOT %(again)s THEN NULL ELSE %(swept_until)s::timestamptz END,
    gaps_noted = CASE WHEN gaps_noted = %(gaps_noted)s AND %(again)s THEN gaps_noted + 1 ELSE gaps_noted END,
    swept_until = greatest(swept_until, %(swept_until)s), swept_at = now()
WHERE company_id = %(company_id)s AND gap_since IS NOT DISTINCT FROM %(gap_since)s
RETURNING gap_since IS NULL;

-- name: company_activate
UPDATE control.companies SET state = 'active' WHERE company_id = %(company_id)s AND state = 'connected'
RETURNING company_id;
