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
RETURNING recent, minute_at, blocked_until, clock_timestamp();

-- name: limiter_store
UPDATE control.limiter SET recent = %(recent)s, minute_at = %(minute_at)s WHERE company_id = %(company_id)s;

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
