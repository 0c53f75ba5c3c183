#!/usr/bin/perl
# mutants.pl - breaks the consensus core on purpose, one way at a time, in a scratch
# copy, and runs the simulation on it: with the core's own assertions, and without
# them, when only the simulation's checks can notice.  Fails if they do not.
#
#     mutants.pl [NAME...]
#
# SIM_RUNS: schedules at most for each, SIM_JOBS: processes.
#
# A mutant is a text that must be in the file exactly once, what stands there
# instead, and options of the simulation, if it takes special schedules to notice.
# The last rows break the world rather than the core: with clocks that drift half as
# much again as promises allow for, votes against promises must be seen; and with frames
# that are shipped ahead of the primary's flush, a place that it counts before it has
# flushed it, and one that others apply before.
use strict;
use warnings;
use Cwd qw(getcwd);
use File::Temp qw(tempdir);

my $runs = $ENV{SIM_RUNS} || 100000;
my $jobs = $ENV{SIM_JOBS} || 2;
my $cc = $ENV{CC} || 'cc';

my @mutants = (
	['promise ignored by the voter', 'vote.c',
		'if (promise_binds(c, m->from, now) &&', 'if (false && promise_binds(c, m->from, now) &&'],
	['promise without margin for drift', 'consensus.h',
		'((uint64_t) (lease) + (lease) / 16 + 10)', '((uint64_t) (lease))'],
	['promise not on disk before it is given', 'lease.c',
		"durable->promise_ms = lease;\n", ";\n"],
	['promise does not end the own campaign', 'stand.c',
		'else if (promise_binds(c, c->self, s->e->now))', 'else if (false)'],
	['lease from receipt, not from sending', 'consensus.c',
		'heard_from(s, s->e->leader, s->e->sent)', 'heard_from(s, s->e->leader, s->e->now)'],
	['lease of the votes from receipt', 'election.c',
		'heard_from(s, m->from, m->sent)', 'heard_from(s, m->from, s->e->now)'],
	['lease with less than half', 'lease.c', '(voters + 1) / 2 -', 'voters / 2 -'],
	['lease not needed for the first gate', 'election.c',
		'lease_begin(s, outcome == OUTCOME_FORCED)', 'lease_begin(s, true)'],
	['lease without the designated', 'lease.c',
		'return lease_from(c, m->designated)', 'return LEASE_UNLIMITED'],
	['lease under the newest members only', 'lease.c',
		'c->has_before ? lease_under(c, &c->before) : until', 'until'],
	['restart does not wait', 'consensus.c',
		'c->no_vote_until = s->e->now + CONSENSUS_PROMISE_MS(c->durable.promise_ms)', 'c->no_vote_until = 0'],
	['vote not on disk', 'term.c',
		"durable->voted_for = voted_for;\n\ts->u->persist = true;", "durable->voted_for = voted_for;"],
	['vote for a term that has passed', 'vote.c',
		'if (m->ask_term < c->durable.term)', 'if (false)'],
	['vote for a shorter log', 'vote.c',
		"if (consensus_place_cmp(m->place, least_place(c)) < 0)\n\t\treturn REFUSED_BEHIND", "if (false)\n\t\treturn REFUSED_BEHIND"],
	['vote for less than was there before a copy', 'vote.c',
		'return consensus_place_cmp(c->log, c->floor) < 0 ? c->floor : c->log;', 'return c->log;'],
	['votes of secondaries and newcomers', 'quorum.c',
		'return member->type != CONSENSUS_SECONDARY && !member->joining;', 'return member != NULL;'],
	['half of the votes elects', 'quorum.c',
		'return consensus_voters(m) / 2 + 1;', 'return (consensus_voters(m) + 1) / 2;'],
	['pre-votes count as votes', 'election.c',
		'if ((m->pre != 0) == c->campaign_voting)', 'if (false)'],
	['pre-vote is written down', 'vote.c',
		'if (refusal == REFUSED_NOT && !m->pre)', 'if (refusal == REFUSED_NOT)'],
	['resumes though it has voted or heard', 'term.c',
		"if (s->c->may_resume)\n", "if (false)\n"],
	['resumes alone while a change is open', 'quorum.c',
		'(!c->has_before || allowed(&c->before, c->self))', 'true'],
	['elected by the newest members only', 'quorum.c', 'if (!votes_block(c))', 'if (false)',
		'--mode designated'],
	['the other is as good as the designated', 'quorum.c',
		"(m->rule == RULE_DESIGNATED && m->designated == id);\n}\n\n/* The same", "m->rule == RULE_DESIGNATED;\n}\n\n/* The same"],
	['candidate releases itself from promises', 'election.c',
		"if (c->campaign_released)\n\t\t{\n\t\t\tm.release_from = c->campaign_from;",
		"if (true)\n\t\t{\n\t\t\tm.release_from = c->last_leader;"],
	['old primary hands over without its vote', 'transfer.c',
		"durable_set(s, m->ask_term, m->from);\n\tresume_forbid(s);", "resume_forbid(s);"],
	['hand-over though the attempt is void', 'transfer.c', 'else if (!t->active || t->attempt', 'else if (t->attempt'],
	['priority 0 stands', 'stand.c',
		'quorum_priority(&c->members, c->self) > 0', 'quorum_priority(&c->members, c->self) >= 0'],
	['stands in a pause', 'stand.c', '!c->members.paused && ', ''],
	['reign behind a reign goes unseen', 'consensus.c',
		' || (c->role == ROLE_PRIMARY && c->durable.term != term)', ''],
);

my $dir = tempdir('baton-mutants.XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $here = getcwd();

sub shell { system(@_) == 0 or die "failed: @_\n" }

# A fresh copy of the core; edited, if there is something to edit.
sub copy_core
{
	my ($file, $old, $new) = @_;

	shell("rm -rf $dir/src && mkdir -p $dir/src && cp -r $here/../../src/consensus $dir/src/");
	return if !defined $file;
	my $path = "$dir/src/consensus/$file";
	open(my $in, '<', $path) or die "$path: $!\n";
	my $text = do { local $/; <$in> };
	close $in;
	my $count = () = $text =~ /\Q$old\E/g;
	die "\"$old\" is $count times in $file\n" if $count != 1;
	$text =~ s/\Q$old\E/$new/;
	open(my $out, '>', $path) or die "$path: $!\n";
	print $out $text;
	close $out;
}

# What the simulation says: "seed N: why", or "" if it notices nothing.
sub simulate
{
	my ($flags, $args) = @_;
	my $out = "$dir/out";

	shell("$cc -std=c99 -D_POSIX_C_SOURCE=200809L -O2 -w $flags -I$dir/src -I$here -o $dir/simulate"
		  . " $here/*.c $dir/src/consensus/*.c");
	system("cd $dir && timeout 600 ./simulate --runs $runs --jobs $jobs --first $args >$out 2>/dev/null");
	open(my $in, '<', $out) or die "$out: $!\n";
	my @seeds = sort { $a->[0] <=> $b->[0] } map { /^seed (\d+)(?: \([^)]*\))?: (.*?)(; replay|$)/ ? [$1, $2] : () } <$in>;
	return @seeds ? "seed $seeds[0][0]: $seeds[0][1]" : '';
}

my ($survived, $shown) = (0, 0);

sub row
{
	my ($name, $checks, $asserts) = @_;

	$shown++;
	$survived++ if $checks eq '';
	printf "%-46s %s\n", $name, $checks eq '' ? 'SURVIVES' : $checks;
	printf "%-46s   with assertions: %s\n", '', $asserts if $asserts ne '';
}

$| = 1;
for my $m (@mutants)
{
	my ($name, $file, $old, $new, $args) = @$m;

	next if @ARGV && !grep { $name =~ /\Q$_\E/ } @ARGV;
	copy_core($file, $old, $new);
	my $checks = simulate('-DNDEBUG', $args || '');
	my $asserts = simulate('', $args || '');
	row($name, $checks, $asserts eq $checks ? '' : $asserts eq '' ? 'nothing' : $asserts);
}
if (!@ARGV)
{
	copy_core();
	row('world: clocks drift half too far', simulate('-DNDEBUG', '--drift 150'), '');
	row('world: the primary counts what it may lose', simulate('-DNDEBUG', '--count-unflushed'), '');
	row('world: applied is what the primary may lose', simulate('-DNDEBUG', '--apply-unflushed'), '');
}
printf "%d passed, %d failed\n", $shown - $survived, $survived;
exit($survived > 0);
