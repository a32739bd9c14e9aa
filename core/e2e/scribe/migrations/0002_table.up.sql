-- Long enough to be killed in.
CREATE TABLE scribe_table2 (n integer);
INSERT INTO scribe_table2
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100000)
SELECT count(*) FROM numbers;
INSERT INTO scribe_log VALUES ('0002_table');
