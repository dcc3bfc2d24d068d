#!/bin/sh
# Creates the files in the folder `secrets` that compose.yaml mounts: random passwords and a copy of the settings.
# Existing files are not changed, so it is safe to run this script again.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets

random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

# Creates a file with the content of standard input, unless the file exists. A rename makes the creation atomic.
create() { # MODE NAME
	if [ -s "secrets/$2" ]; then
		echo "secrets/$2 exists"
	else
		cat >"secrets/$2.new"
		chmod "$1" "secrets/$2.new"
		mv "secrets/$2.new" "secrets/$2"
		echo "created secrets/$2"
	fi
}

# Other users cannot enter the folder. Mounted files must be readable by the user of the container.
random 24 | create 444 postgres_password
printf 'postgresql://framehouse:%s@postgres/framehouse' "$(cat secrets/postgres_password)" | create 444 database_url
key=$(random 10) secret=$(random 24)
create 400 s3.env <<END
AWS_ACCESS_KEY_ID=$key
AWS_SECRET_ACCESS_KEY=$secret
ROOT_ACCESS_KEY_ID=$key
ROOT_SECRET_ACCESS_KEY=$secret
END
cat framehouse.toml | create 644 framehouse.toml # it may contain keys of purchased API accounts
