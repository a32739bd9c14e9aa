DELETE FROM scribe_log WHERE step = '0006_index';
DROP INDEX scribe_log_step;
