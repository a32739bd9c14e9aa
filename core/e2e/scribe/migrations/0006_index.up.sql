-- platformd: no-transaction
CREATE INDEX IF NOT EXISTS scribe_log_step ON scribe_log (step);
INSERT INTO scribe_log (step) SELECT '0006_index' WHERE NOT EXISTS (SELECT 1 FROM scribe_log WHERE step = '0006_index');
