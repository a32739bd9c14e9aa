DROP TABLE scribe_log;
