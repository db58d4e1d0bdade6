# Shared by make-site and setup: sourced, not run.
# shellcheck shell=bash

# listeners prints the frontends' listeners for HTTP_PORTS and STRATUM_PORTS of
# site.env. Usage: listeners [EXTRA-LINE]
listeners() {
	local port word
	for port in ${HTTP_PORTS//,/ }; do
		printf '\n[[frontend.http]]\nlisten = ":%s"\n%s' "$port" "${1:+$1$'\n'}"
	done
	for word in ${STRATUM_PORTS//,/ }; do
		printf '\n[[frontend.stratum]]\nlisten = ":%s"\nnetwork = "%s"\n%s' "${word%%=*}" "${word#*=}" "${1:+$1$'\n'}"
	done
}

# health_port prints on which port a role tells how it is.
health_port() { # ROLE
	case $1 in
	frontend | all) printf 9101 ;;
	backend) printf 9102 ;;
	web) printf 9103 ;;
	esac
}

# without_listeners leaves the example's listeners out of a configuration.
without_listeners() {
	awk '/^\[/ { skip = /^\[\[frontend\.(http|stratum)\]\]/ } !skip' "$1"
}

# check_ports ends with a message where the ports of site.env make no sense.
check_ports() {
	local word
	[[ $HTTP_PORTS =~ ^[0-9]+([,\ ]+[0-9]+)*$ ]] || die "site.env: HTTP_PORTS wants port numbers, at least one"
	for word in ${STRATUM_PORTS//,/ }; do
		[[ $word =~ ^[0-9]+=[a-zA-Z0-9_-]+$ ]] || die "site.env: STRATUM_PORTS: \"$word\" is no PORT=NETWORK, like 3333=main"
	done
}
