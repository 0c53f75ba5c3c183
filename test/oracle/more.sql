-- What pg_dump does not tell of a database: a line for each fact.
-- Indexes that are not what they should be.
select format('INDEX STATE %s: valid %s, ready %s, live %s, replica identity %s', indexrelid::regclass, indisvalid, indisready, indislive, indisreplident)
from pg_index where indexrelid >= 16384 and indexrelid::regclass::text !~ '^(pg_toast|baton)\.' order by 1;
-- Rows of materialized views.
select format('MATVIEW ROWS %s: %s', c.oid::regclass,
	(xpath('/row/n/text()', query_to_xml(format(
		'select count(*) || '' '' || coalesce(md5(string_agg(t::text, chr(10) order by t::text collate "C")), '''') as n from %s t', c.oid::regclass),
		false, true, '')))[1])
from pg_class c where c.relkind = 'm' and c.relispopulated order by 1;
-- What each schema, type, function ... is called, also of those that pg_dump leaves out.
select format('OBJECT %s %s', c.classid::regclass, regexp_replace(o.identity, 'RI_ConstraintTrigger_(.)_\d+', 'RI_ConstraintTrigger_\1'))
from (select distinct classid, objid from pg_depend where deptype in ('n', 'a', 'i', 'P', 'S') and objid >= 16384 and objsubid = 0
	and classid not in ('pg_catalog.pg_rewrite'::regclass, 'pg_catalog.pg_attrdef'::regclass)) c,
	lateral pg_identify_object(c.classid, c.objid, 0) o
where o.identity is not null and o.identity !~ 'baton|pg_toast|pg_temp' order by 1;
