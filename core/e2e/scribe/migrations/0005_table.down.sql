DELETE FROM scribe_log WHERE step = '0005_table';
DROP TABLE scribe_table5;
