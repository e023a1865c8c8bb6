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
