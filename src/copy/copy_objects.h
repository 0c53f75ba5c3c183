/*
 * copy_objects.h - the queries that find what a user has made in a database.
 */
#ifndef BATON_COPY_OBJECTS_H
#define BATON_COPY_OBJECTS_H

/*
 * NULL-terminated.  Each gives (description text, statement that drops it text or
 * null), and expects a search_path that begins with pg_catalog.
 */
extern const char *const copy_object_queries[];

#endif							/* BATON_COPY_OBJECTS_H */
