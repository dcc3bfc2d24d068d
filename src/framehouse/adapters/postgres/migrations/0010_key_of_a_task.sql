-- accept_tasks looks itself whether the key is still good that a request came with, so that nobody has to ask before.

alter type accept_row add attribute key_id bigint;
