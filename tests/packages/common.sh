# What the tests of the packages share: assertions, chroots, the stand-in data plane, events. Sourced by bundle, deb and
# unit. They run as root in name spaces of their own (see run), so that no mount and no process outlives them.
# shellcheck shell=bash

# Parts run side by side: each has files of its own.
work=build/packages/${PART:-$(basename "$0")}
chroots=build/chroots
signature_key=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
write_key=key-of-the-packages-test
failures=0

say() {
    echo "---- $*"
}

# check WHAT COMMAND...: the command must succeed; returns whether it did.
check() {
    local what=$1
    shift
    if "$@"; then
        echo "ok: $what"
    else
        echo "FAILED: $what"
        failures=$((failures + 1))
        return 1
    fi
}

die() {
    echo "FAILED: $*"
    exit 1
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $until ] || return 1
        sleep 0.1
    done
}

# ended PID: it runs no longer.
ended() {
    ! grep -qs '^State:.[^Z]' "/proc/$1/status"
}

# stopped PID [SIGNALLED]: ends SIGNALLED, PID itself unless given, by SIGTERM, and waits for PID, a process of this shell;
# returns its status. What does not end in a minute is shown and killed: a failure.
stopped() {
    # shellcheck disable=SC2086 # process ids
    kill -TERM ${2-$1}
    wait_for 60 ended "$1" || {
        echo "FAILED: process $1 does not end; it was to be told by a signal to '${2-$1}'"
        failures=$((failures + 1))
        processes
        kill -KILL "$1"
    }
    wait "$1"
}

# program_of JOB: the process of a command in the background. Where a function began it, the shell may be between.
program_of() {
    case $(readlink "/proc/$1/exe") in
    */bash) pgrep -P "$1" | head -n 1 ;;
    *) echo "$1" ;;
    esac
}

# The processes of all parts, for whoever looks for the one that hangs.
processes() {
    ps -eo pid,ppid,user:10,etimes,stat,wchan:20,args --forest | cut -c 1-200
}

# ---- chroots ----

# The mirror that this machine's apt uses; nothing: debootstrap's own.
mirror() {
    if [ -n "${DEBIAN_MIRROR:-}" ]; then
        echo "$DEBIAN_MIRROR"
        return
    fi
    # shellcheck disable=SC2016 # apt's variables
    apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 2>/dev/null |
        awk '$1 == "Debian" && $2 == "Debian" { print $3; exit }'
}

# chroot_make NAME FROM PACKAGES...: $chroots/NAME, a copy of FROM with the packages in it. FROM is a suite or another
# chroot that was made so; what both need is downloaded and unpacked once. What is there is used again when it holds the
# same packages.
chroot_make() {
    mkdir -p "$chroots"
    (flock 9 && chroot_make_locked "$@") 9>"$chroots/$1.lock" || exit 1
}

chroot_make_locked() {
    local name=$1 from=$2 base=$PWD/$chroots/$1 packages
    shift 2
    [ -e "$chroots/$from.packages" ] || (flock 9 && suite_make "$from") 9>"$chroots/$from.lock" || exit 1
    packages=$(cat "$chroots/$from.packages" 2>/dev/null)
    packages="${packages:+$packages }$*"
    [ "$(cat "$base.packages" 2>/dev/null)" = "$packages" ] && [ -d "$base" ] && return
    rm -rf --one-file-system "$base" "$base.packages"
    cp -a "$chroots/$from" "$base"
    root=$base
    prepare
    mounted install_packages "$@" >"$base.log" 2>&1 ||
        { tail -n 5 "$base.log" && die "$name: packages cannot be installed; $base.log has the rest"; }
    echo "$packages" >"$base.packages"
}

# chroot_make_deb SUITE: what builds, checks and runs the Debian package; the unit tests' chroot is made from it.
chroot_make_deb() {
    # shellcheck disable=SC2046 # the names are words
    chroot_make "$1-deb" "$1" $(packaging/install-packages --print deb) lintian adduser nginx-light procps
}

# chroot_make_servers SUITE: that, and all web servers.
chroot_make_servers() {
    chroot_make_deb "$1"
    chroot_make "$1-servers" "$1-deb" apache2 libapache2-mod-fcgid lighttpd-mod-openssl
}

# suite_make SUITE: $chroots/SUITE, as debootstrap makes it. It comes to stand there when it is whole.
suite_make() {
    local base=$PWD/$chroots/$1
    [ -d "$base" ] && return
    for _ in 1 2; do
        rm -rf --one-file-system "$base.new"
        # shellcheck disable=SC2046 # no mirror: no word
        debootstrap --variant=minbase "$1" "$base.new" $(mirror) >"$base.log" 2>&1 && mv "$base.new" "$base" && return
    done
    tail -n 5 "$base.log"
    die "debootstrap makes no $1; $base.log has the rest"
}

prepare() {
    printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # nothing is started when a package is installed
    chmod 755 "$root/usr/sbin/policy-rc.d"
    mkdir -p "$root/etc/postgresql-common"
    echo "create_main_cluster = false" >"$root/etc/postgresql-common/createcluster.conf" # each test makes one of its own
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/fast"
}

install_packages() {
    local apt="inside apt-get -q -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0"
    $apt update && { $apt install --no-install-recommends "$@" || $apt install --no-install-recommends "$@"; } && $apt clean
}

# mounted COMMAND...: with the chroot's /proc and /dev there.
mounted() {
    local status
    mount_inside
    "$@"
    status=$?
    umount_inside
    return $status
}

mount_inside() {
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev" # with its terminals
}

umount_inside() {
    umount --recursive "$root/dev" && umount "$root/proc" || umount --recursive --lazy "$root/dev" "$root/proc"
}

# chroot_copy FROM NAME: a fresh copy, ready to be used; sets root. Where the kernel can, only what is changed is copied.
chroot_copy() {
    root=$PWD/$work/$2
    rm -rf --one-file-system "$root" "$root.changes" # never the machine's /dev, should it still be there
    mkdir -p "$root" "$root.changes/upper" "$root.changes/work"
    mount -t overlay overlay -o "lowerdir=$PWD/$chroots/$1,upperdir=$root.changes/upper,workdir=$root.changes/work" "$root" \
        2>/dev/null || cp -a "$chroots/$1/." "$root"
    mount_inside
}

# chroot_drop: ends what runs in it, and removes it.
chroot_drop() {
    wait_for 10 nobody_inside
    umount_inside
    ! mountpoint -q "$root" || umount "$root"
    rm -rf --one-file-system "$root" "$root.changes" # never the machine's /dev, should it still be there
}

# Ends what runs in it; succeeds when there was nothing. Again and again: a server whose worker is ended first starts
# another one before it is ended itself.
nobody_inside() {
    local pid pids
    pids=$(inside_pids)
    for pid in $pids; do
        kill -KILL "$pid" 2>/dev/null
    done
    [ -z "$pids" ]
}

# The processes in the chroot: those that have its root.
inside_pids() {
    local link
    for link in /proc/[0-9]*/root; do
        [ "$(readlink "$link" 2>/dev/null)" = "$root" ] && basename "$(dirname "$link")"
    done
}

# as USER COMMAND...: in the chroot, with cron's environment.
as() {
    local user=$1
    shift
    chroot --userspec="$user:" "$root" /usr/bin/env -i HOME="$(home_of "$user")" LOGNAME="$user" SHELL=/bin/sh \
        PATH=/usr/bin:/bin "$@"
}

home_of() {
    awk -F: -v user="$1" '$1 == user { print $6 }' "$root/etc/passwd"
}

inside() {
    DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 chroot "$root" "$@"
}

# ---- the Debian package ----

# deb_make SUITE: what `make deb` makes there, in build/packages/debs-SUITE; once in a run, for all parts that want it.
deb_make() {
    (flock 9 && { [ -e "build/packages/debs-$1/made" ] || deb_build "$1"; }) 9>"build/packages/debs-$1.lock"
}

# The tree is copied, for the package is built where it is to run.
deb_build() {
    local root
    chroot_copy "$1-deb" "build-$1"
    mkdir -p "$root/src" "build/packages/debs-$1"
    tar -c --exclude=./build --exclude=./.git . | tar -x -C "$root/src"
    if inside make -C /src VERSION=0.1.0 deb >"$work/deb-$1.log" 2>&1; then
        cp "$root"/src/build/deb/closecrm.fcgi*_* "build/packages/debs-$1/" && : >"build/packages/debs-$1/made"
    else
        tail -n 20 "$work/deb-$1.log"
    fi
    chroot_drop
    [ -e "build/packages/debs-$1/made" ]
}

socket=/run/closecrm/closecrm.sock

# of UNIT KEY: a value in a unit file.
of() {
    sed -n "s/^$2=//p" "$root/lib/systemd/system/$1"
}

# The service as systemd would start it.
service_up() {
    [ "$(of closecrm.socket ListenStream)" = $socket ] || return 1
    install -d "$root$(dirname $socket)"
    rm -f "$root$socket"
    inside env -i "$(of closecrm.service Environment)" spawn-fcgi -n -s $socket -M 0660 -U www-data \
        -G "$(of closecrm.socket SocketGroup)" -u "$(of closecrm.service User)" -g "$(of closecrm.service Group)" -- \
        "$(of closecrm.service ExecStart)" >$work/service.log 2>&1 &
    service=$!
    wait_for 20 grep -qs msg=started $work/service.log
}

# ---- the data plane ----

# A certificate authority nobody else knows, and localhost's certificate by it.
make_certificates() {
    [ -e $work/server.pem ] && return
    mkdir -p $work
    (
        cd $work || exit 1
        openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 30 -subj '/CN=Test authority' &&
            openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost &&
            openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out server.pem \
                -extfile <(echo subjectAltName=DNS:localhost,DNS:shop.example.com,DNS:hooks.example.com)
    ) 2>$work/openssl.log || die "openssl makes no certificate; $work/openssl.log says why"
}

# standin_up [PORT]: sets standin_pid, standin_port.
standin_up() {
    build/release/standin "${1:-0}" $write_key $work/server.pem $work/server.key >>$work/standin.log 2>&1 &
    standin_pid=$!
    : >$work/standin.log
    wait_for 10 grep -q '^port' $work/standin.log || die "the stand-in data plane does not start"
    standin_port=$(awk '/^port/ { print $2; exit }' $work/standin.log)
}

# Sets messages, repeated and refused to what it counted in its life.
standin_down() {
    stopped "$standin_pid"
    eval "$(awk '/^total/ { for (i = 2; i <= NF; i++) print $i }' $work/standin.log)"
}

# standin_has MESSAGES: at least so many.
standin_has() {
    [ "$(sed -n 's/.* messages=\([0-9]*\).*/\1/p' $work/standin.log | tail -n 1)" -ge "$1" ] 2>/dev/null
}

# ---- events ----

port_free() {
    local port
    for port in $(shuf -i 20000-30000 -n 50); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port" && return; }
    done
    return 1
}

listens() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# The configuration with which events are signed, by this machine's own build.
make_sender() {
    mkdir -p $work
    (umask 077 && printf 'data_plane_url = http://127.0.0.1:1\nwrite_key = %s\nsignature_key = %s\nqueue = none\n' \
        $write_key $signature_key >$work/sender.conf)
}

# send URL [OPTIONS...]: one signed event; it succeeds when the answer was 200 `ok`.
send() {
    local url=$1
    shift
    CLOSECRM_CONFIG=$work/sender.conf ./closecrm.fcgi send-test "$@" "$url" >$work/send.out 2>&1 ||
        { cat $work/send.out && return 1; }
}

finish() {
    [ $failures -eq 0 ] || { echo "$0: $failures failed" && exit 1; }
}
