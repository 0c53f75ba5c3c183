/*
 * notifier_expand.c - fills the placeholders of baton.on_role_change in.
 *
 * A value goes in as one word for the shell, whatever it holds and wherever the
 * placeholder stands: between quotes of the command's own these are closed before
 * the quoted value, and opened again behind it.  Within a command substitution
 * between double quotes the shell's rules begin anew; a placeholder there is
 * refused.
 */
#include "baton.h"

#include "lib/stringinfo.h"
#include "node/notifier.h"

typedef struct Expansion
{
	StringInfoData out;
	char		quote;			/* ' or ", 0 none */
	bool		substitution;	/* a substitution has begun between double quotes */
} Expansion;

static void
append_quoted(Expansion *x, const char *value)
{
	if (x->quote != 0)
		appendStringInfoChar(&x->out, x->quote);
	appendStringInfoChar(&x->out, '\'');
	for (const char *p = value; *p != '\0'; p++)
	{
		if (*p == '\'')
			appendStringInfoString(&x->out, "'\\''");
		else
			appendStringInfoChar(&x->out, *p);
	}
	appendStringInfoChar(&x->out, '\'');
	if (x->quote != 0)
		appendStringInfoChar(&x->out, x->quote);
}

/* Copy one character of the command's own; returns how many were taken. */
static int
append_plain(Expansion *x, const char *p)
{
	appendStringInfoChar(&x->out, *p);
	if (*p == '\\' && x->quote != '\'' && p[1] != '\0' && p[1] != '%')
	{
		appendStringInfoChar(&x->out, p[1]);
		return 2;
	}
	if (x->quote == '"' && (*p == '`' || (*p == '$' && p[1] == '(')))
		x->substitution = true;
	if (x->quote == 0 && (*p == '\'' || *p == '"'))
		x->quote = *p;
	else if (*p == x->quote)
		x->quote = 0;
	return 1;
}

/*
 * value: gives the text for a placeholder's letter, NULL for one that it does not
 * know.
 */
char *
notifier_expand(const char *command, const char *(*value) (char placeholder, void *arg),
				void *arg, const char **why)
{
	Expansion	x = {.quote = 0};
	const char *p = command;

	initStringInfo(&x.out);
	while (*p != '\0')
	{
		const char *text;

		if (*p != '%')
		{
			p += append_plain(&x, p);
			continue;
		}
		if (p[1] == '%')
			appendStringInfoChar(&x.out, '%');
		else
		{
			text = p[1] != '\0' ? value(p[1], arg) : NULL;
			if (text == NULL)
			{
				*why = p[1] == '\0' ? "It ends with \"%\"." :
					psprintf("\"%%%c\" is no placeholder; there are %%r, %%o, %%n, %%g, %%t, %%l, %%c, %%d and %%%%.", p[1]);
				return NULL;
			}
			if (x.substitution)
			{
				*why = psprintf("\"%%%c\" stands in a command substitution between double quotes, where its value cannot be quoted safely.", p[1]);
				return NULL;
			}
			append_quoted(&x, text);
		}
		p += 2;
	}
	return x.out.data;
}
