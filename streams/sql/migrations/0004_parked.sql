-- Why a person put a parked record away.

ALTER TABLE control.parked ADD COLUMN resolved_because text NOT NULL DEFAULT '';
