# shellcheck shell=bash disable=SC2154
# Starts, awaits and stops background processes; shared by the test beds.
#
# A process NAME of a bed leaves two files in $run: NAME.pid ("pid start-time", so that a reused pid is never mistaken
# for ours) and its output in $logs/NAME.log.

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# The moment a process started, in clock ticks since boot: field 22 of stat, counted after the parenthesised name.
start_time() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    stat=${stat##*) }
    local -a fields # from field 3, the state, onwards
    read -ra fields <<<"$stat"
    [[ ${fields[0]} != Z ]] && printf '%s\n' "${fields[19]}"
}

# start NAME COMMAND… — starts it in a new session, without the caller's locks.
start() {
    local name=$1 pid
    shift
    setsid "$@" >>"$logs/$name.log" 2>&1 </dev/null 9>&- &
    pid=$!
    printf '%s %s\n' "$pid" "$(start_time "$pid")" >"$run/$name.pid"
}

# pid_of NAME — prints its process id while it runs, else fails.
pid_of() {
    local pid started
    read -r pid started 2>/dev/null <"$run/$1.pid" || return 1
    [[ $(start_time "$pid") == "${started:-none}" ]] && printf '%s\n' "$pid"
}

# stop NAME SECONDS — sends SIGTERM, after SECONDS SIGKILL; returns when the process has ended.
stop() {
    local name=$1 seconds=$2 pid
    if pid=$(pid_of "$name"); then
        kill -TERM "$pid" 2>/dev/null || true
        gone_within "$seconds" "$name" || { kill -KILL "$pid" 2>/dev/null || true; gone_within 10 "$name"; } ||
            die "$name (process $pid) does not end, even killed"
    fi
    rm -f "$run/$name.pid"
}

gone_within() {
    local deadline=$((SECONDS + $1)) name=$2
    while pid_of "$name" >/dev/null; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

# wait_until SECONDS NAME FACT COMMAND… — waits until COMMAND succeeds. After SECONDS, or when the process NAME has ended,
# prints the FACT that did not become true and the end of the log, and exits.
wait_until() {
    local seconds=$1 name=$2 fact=$3 deadline=$((SECONDS + $1))
    shift 3
    until "$@" >/dev/null 2>&1; do
        if ! pid_of "$name" >/dev/null; then
            show_log "$name"
            die "$name ended before this came true: $fact"
        fi
        if ((SECONDS >= deadline)); then
            show_log "$name"
            die "waited $seconds s, still not true: $fact"
        fi
        sleep 0.1
    done
}

show_log() {
    say "the end of $logs/$1.log:"
    tail -n 25 "$logs/$1.log" >&2 || true
}
