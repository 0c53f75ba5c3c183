-- The table of states: each row once, numbers rising, every state reached from
-- the start and left again, and each change that can happen has a row.
\c baton_regress_a
set client_min_messages = warning;
create temp table t as select * from baton.transitions();
select number, from_state, to_state from t;
select count(*) = count(distinct (from_state, to_state)) as no_pair_twice,
	count(*) = count(distinct number) as no_number_twice,
	bool_and(from_state <> to_state) as none_to_itself,
	bool_and(cause <> '' and action <> '') as all_explained from t;
-- the numbers rise in the order of the rows
select bool_and(number > before) as rising
from (select number, lag(number, 1, 0) over () as before from t) o;
create temp table states as select unnest(array['down', 'unknown', 'primary', 'replica', 'detached', 'copying']) as state;
-- unknown states in the table, states that cannot be reached from the start or left
select from_state, to_state from t
where from_state not in (select state from states) or to_state not in (select state from states);
with recursive reached(state) as (
	values ('down') union select to_state from reached join t on from_state = state)
select s.state as unreachable from states s where s.state not in (select state from reached);
select s.state as without_exit from states s where s.state not in (select from_state from t);
-- every state can be left for down and is reached from unknown, at once or through others
select s.state as cannot_go_down from states s
where s.state <> 'down' and not exists (select from t where from_state = s.state and to_state = 'down');
with recursive reached(state) as (
	values ('unknown') union select to_state from reached join t on from_state = state)
select s.state as not_from_unknown from states s where s.state not in (select state from reached);
-- what must never happen: a copy, a detached node, or one that has just started leads
select number from t where to_state = 'primary' and from_state not in ('unknown', 'replica');
-- what this node has gone through is in the table
with changes as (
	select m[1] as from_state, m[2] as to_state
	from baton.events, regexp_match(detail, '^from (\w+) to (\w+)') m where event = 'state')
select count(*) > 0 as has_changed,
	count(*) filter (where not exists (select from t where (t.from_state, t.to_state) = (c.from_state, c.to_state))) as without_row
from changes c;
