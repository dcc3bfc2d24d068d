-- $1 name, $2 new secret, $3 how long the old one signs too. Run twice with the same secret, it changes nothing more.
update accounts
set callback_secret_old = case when callback_secret = $2 then callback_secret_old
        else callback_secret || case when callback_secret_old_until > now() then ' ' || callback_secret_old else '' end end,
    callback_secret_old_until = now() + $3,
    callback_secret = $2
where name = $1
returning callback_secret;
