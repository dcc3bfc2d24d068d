#!/bin/sh
# Makes what compose.yaml mounts from the folder secrets: random passwords, and the settings to change. What exists is
# kept: run it as often as you like.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets

random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# A file comes into its place whole or not at all.
keep() { # NAME MODE, content from standard input
	if [ -s "secrets/$1" ]; then
		echo "secrets/$1 is kept"
	else
		cat >"secrets/$1.new"
		chmod "$2" "secrets/$1.new"
		mv "secrets/$1.new" "secrets/$1"
		echo "secrets/$1 is made"
	fi
}

# The folder is closed to others; a file that is mounted must be readable by the container's own user all the same.
random 24 | keep postgres_password 444
printf 'postgresql://framehouse:%s@postgres/framehouse' "$(cat secrets/postgres_password)" | keep database_url 444
key=$(random 10) secret=$(random 24)
keep s3.env 400 <<END
AWS_ACCESS_KEY_ID=$key
AWS_SECRET_ACCESS_KEY=$secret
ROOT_ACCESS_KEY_ID=$key
ROOT_SECRET_ACCESS_KEY=$secret
END
keep framehouse.toml 644 <framehouse.toml # yours from now on; it may hold the keys of bought accounts
