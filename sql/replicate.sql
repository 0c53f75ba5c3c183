-- Everything that a table can hold or have done to it arrives on the other side.
\c baton_regress_a
set datestyle = iso;
set timezone = utc;
insert into everything values (1,
	true, -32768, -2147483648, -9223372036854775808, 1.5, 'NaN', -123456789.12345, 12.34,
	E'tab\tquote''back\\slash', 'varchar', 'chr', 'a name', '\x00ff00', '10101', '111',
	'infinity', '-infinity', '2001-02-03 04:05:06.789012+00', '23:59:59.999999', '12:00:00+02', '1 year 2 mons -3 days 04:05:06',
	'00000000-0000-0000-0000-000000000001', '{"a": 1}', '{"b": [1, null]}', '<x>y</x>', '10.0.0.1/8', '10.0.0.0/8', '01:02:03:04:05:06',
	'(1,2)', '((0,0),(1,1))', '((0,0),(1,1),(1,0))', 'a:1 b:2A', 'a & !b',
	'{1,NULL,3}', '{{a,b},{c,"d e"}}', '[1,5)', '{[1,3),[7,9)}', 4000000000, 'nokey', 'AB/CD',
	'happy', '(7,"x,y")', 42, '{sad,NULL,ok}', array[(1,'one'), (2,null)]::pair[], '[1.5,)');
insert into everything(id) values (2);                      -- all else is null
insert into everything(id, t, ar) values (3, '', '{}');     -- empty is not null
update everything set e = 'ok', jb = '{"c": "d"}' where id = 2;
update everything set id = 30 where id = 3;                  -- the key changes
-- TOAST: a large value that stays while another column changes, and one that changes
insert into toasted select g, 0, repeat(md5(g::text), 3000) from generate_series(1, 3) g;
update toasted set small = 1 where id = 1;
update toasted set big = repeat('new', 30000) where id = 2;
update toasted set id = 33 where id = 3;
-- no primary key: equal rows, one by one
insert into nokey select g % 3, 'dup' from generate_series(1, 9) g;
update nokey set b = 'changed' where ctid = (select min(ctid) from nokey where a = 1 and b = 'dup');
delete from nokey where a = 2;
-- an index as replica identity
insert into replident values (1, 1, 'x'), (2, 2, 'y');
update replident set b = 20, c = 'moved' where b = 2;
delete from replident where b = 1;
-- savepoints: what is rolled back does not arrive
begin;
insert into parent values (3);
savepoint s;
insert into parent values (4);
rollback to s;
insert into parent values (5);
savepoint s2;
insert into child values (50, 5);
release s2;
commit;
begin;
insert into parent values (666);
rollback;
-- cascades: only their effects travel, and a trigger does not fire twice
delete from parent where id = 1;
insert into audited values (1, 'one'), (2, 'two');
-- partitions: rows that move, and truncation of one of them
insert into parts select g, 'p' || g from generate_series(0, 199) g;
delete from parts where k = 105;
update parts set k = 105 where k = 6;
truncate parts_low;
insert into parts values (7, 'after truncate');
insert into generated(a) values (1), (2);
update generated set a = 10 where a = 1;
-- TRUNCATE of several tables, and a transaction of more than one frame
truncate parent cascade;
insert into parent values (7);
insert into child values (70, 7);
truncate audit restart identity;
insert into nokey select g, repeat('x', 100) from generate_series(1, 20000) g;

select baton.position() as token \gset
select * from contents();
\c baton_regress_b
set datestyle = iso;
set timezone = utc;
select baton.wait_for(:'token', '60s') is not null as there;
select * from contents();
\x
select * from everything order by id;
\x
select id, small, md5(big) from toasted order by id;
select a, b, count(*) from nokey where length(b) < 100 group by 1, 2 order by 1, 2;
select * from replident order by b;
select a, twice, id from generated order by a;
\c baton_regress_a
select node_name, state, lag_bytes >= 0 as lag from baton.stat_replication order by node_name;
