DELETE FROM scribe_log WHERE step = '0003_table';
DROP TABLE scribe_table3;
