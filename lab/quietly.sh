#!/bin/sh
# Run a command that prints much; show its output only if it fails.
#
# quietly.sh TEXT COMMAND...: TEXT says what is being done. A terminal shows the seconds as well, and
# the last line that the command printed.
set -u

text=$1
shift
log=$(mktemp "${TMPDIR:-/tmp}/k3sfw-log-XXXXXX")
began=$(date +%s)

seconds() {
    echo $(($(date +%s) - began))
}

"$@" >"$log" 2>&1 </dev/null &
pid=$!
# The shell has the command ignore ^C, as it runs in the background.
trap 'kill "$pid" 2>/dev/null; wait "$pid"; rm -f "$log"; echo; exit 130' INT TERM
[ -t 1 ] || echo "$text ..."
while kill -0 "$pid" 2>/dev/null; do
    if [ -t 1 ]; then
        last=$(tail -n 1 "$log" | tr -cd '[:print:]' | cut -c1-40)
        printf '\r\033[K%s ... %s s  %s' "$text" "$(seconds)" "$last"
    fi
    sleep 0.5
done
wait "$pid"
code=$?
[ -t 1 ] && printf '\r\033[K'
if [ "$code" = 0 ]; then
    echo "$text: done in $(seconds) s"
    rm -f "$log"
else
    cat "$log" >&2
    echo "$text: failed (exit code $code); the output above is in $log" >&2
fi
exit "$code"
