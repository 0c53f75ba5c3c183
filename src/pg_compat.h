#ifndef BATON_PG_COMPAT_H
#define BATON_PG_COMPAT_H

#endif
