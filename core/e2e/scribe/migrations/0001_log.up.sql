CREATE TABLE scribe_log (step text NOT NULL);
INSERT INTO scribe_log VALUES ('0001_log');
