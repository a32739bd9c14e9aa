DELETE FROM scribe_log WHERE step = '0002_table';
DROP TABLE scribe_table2;
