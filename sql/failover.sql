-- The baton goes from one database to the other and back.
\c baton_regress_a
set client_min_messages = warning;
insert into parent values (1000);
select term as first_term from baton.status \gset
select step, name from baton.failover('b', after => 'rejoin');
\c baton_regress_b
\set VERBOSITY terse
select await('primary');
select term > :'first_term' as in_a_new_term from baton.status;
insert into parent values (1001);
select baton.position() as token \gset
\c baton_regress_a
select await('replica');
select baton.wait_for(:'token', '60s') is not null as there;
select id from parent where id >= 1000 order by 1;
\set VERBOSITY terse
insert into parent values (1002);
-- read your own writes, and a place that nobody has reached
select baton.wait_for(:'token', '0s') is not null as at_once;
-- with a shutdown of the old primary, which then is only looked at by a superuser
\c baton_regress_b
set client_min_messages = warning;
select step, name from baton.failover('a');
\c baton_regress_a
select await('primary');
insert into parent values (1003);
\c baton_regress_b
-- sessions of the old primary have ended; a superuser's new one may read
select state from baton.status;
insert into parent values (1004);
select id from parent where id >= 1000 order by 1;
select baton.start();
select await('replica');
\c baton_regress_a
select baton.position() as token \gset
select * from contents();
\c baton_regress_b
select baton.wait_for(:'token', '60s') is not null as there;
select * from contents();
