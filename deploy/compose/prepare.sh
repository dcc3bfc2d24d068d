#!/bin/sh
# Makes what compose.yaml mounts from the folder secrets: random passwords, and the settings to change. What exists is
# kept: run it as often as you like.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets

random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# A file comes into its place whole or not at all.
keep() { # MODE NAME, content from standard input
	if [ -s "secrets/$2" ]; then
		echo "secrets/$2 is kept"
	else
		cat >"secrets/$2.new"
		chmod "$1" "secrets/$2.new"
		mv "secrets/$2.new" "secrets/$2"
		echo "secrets/$2 is made"
	fi
}

# The folder is closed to others; a file that is mounted must be readable by the container's own user all the same.
random 24 | keep 444 postgres_password
printf 'postgresql://framehouse:%s@postgres/framehouse' "$(cat secrets/postgres_password)" | keep 444 database_url
key=$(random 10) secret=$(random 24)
keep 400 s3.env <<END
AWS_ACCESS_KEY_ID=$key
AWS_SECRET_ACCESS_KEY=$secret
ROOT_ACCESS_KEY_ID=$key
ROOT_SECRET_ACCESS_KEY=$secret
END
cat framehouse.toml | keep 644 framehouse.toml # yours from now on; it may hold the keys of bought accounts
