#!/bin/busybox sh
# The first process of the guest of `cargo xtask vm`. Makes a host and a machine on its LAN as tests/src/world.rs does, starts
# netd, tries every kind of traffic, and tells each result in one line: `PASS name` or `FAIL name: why`. Other lines for the
# reader begin with GUEST or LOG; what begins otherwise stays in the console's file.

/bin/busybox --install -s /bin
# busybox's shell prefers its own ip and ping to all others: the full ones are called by their paths.
export PATH=/sbin:/bin HOME=/ TERM=dumb RUST_BACKTRACE=1
mkdir -p /proc /sys /dev /run /tmp /etc /var/lib
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
for place in /run /tmp /dev/shm; do mount -t tmpfs tmpfs $place; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
exec >/dev/console 2>&1 </dev/null
# The kernel's messages are looked at in the end; on the console they would divide the lines.
echo 1 >/proc/sys/kernel/printk
echo 'nameserver 198.51.100.2' >/etc/resolv.conf
echo '127.0.0.1 localhost' >/etc/hosts

ended() {
    [ -z "$NETD" ] || kill -9 $NETD 2>/dev/null
    echo "GUEST done"
    poweroff -f
}

pass() { echo "PASS $1"; }

# One line, of which the end says most.
fail() { echo "FAIL $1: $(echo "$2" | tr -s '\n\r\t ' ' ' | tail -c 400)"; }

# NAME COMMAND…: the command must succeed.
try() {
    name=$1; shift
    if said=$("$@" 2>&1); then pass "$name"; else fail "$name" "exit code $?: $* said: $said"; fi
}

# NAME COMMAND…: the command must fail. What it would say if it were let through must be tried elsewhere.
blocked() {
    name=$1; shift
    if said=$("$@" 2>&1); then fail "$name" "it came through: $* said: $said"; else pass "$name"; fi
}

# NAME PEER WHERE tcp|udp ADDRESS:PORT: netd-probe must be answered, by a server that saw PEER (anyone if empty).
reach() {
    name=$1 peer=$2 where=$3; shift 3
    if ! said=$($where netd-probe "$@" 8000 2>&1); then
        fail "$name" "no answer from $2: $said"
        return
    fi
    seen=${said%% *}
    if [ -z "$peer" ] || [ "${seen%:*}" = "$peer" ]; then pass "$name"; else fail "$name" "the server saw $seen, not $peer"; fi
}

# SECONDS COMMAND…: waits until the command succeeds; if it does not, tells what it said last.
within() {
    end=$(($(cut -d. -f1 /proc/uptime) + $1)); shift
    until last=$("$@" 2>&1); do
        if [ "$(cut -d. -f1 /proc/uptime)" -ge $end ]; then
            echo "$last"
            return 1
        fi
        usleep 100000
    done
}

on_host() { "$@"; }
on_lan() { /sbin/ip netns exec lan "$@"; }
in_a() { nsenter --net=/run/netd/netns/a "$@"; }
in_b() { nsenter --net=/run/netd/netns/b "$@"; }
in_c() { nsenter --net=/run/netd/netns/c "$@"; }
in_d() { nsenter --net=/run/netd/netns/d "$@"; }
in_e() { nsenter --net=/run/netd/netns/e "$@"; }

# WHERE 4|6 [INTERFACE]
address_of() { $1 /sbin/ip -$2 -o addr show scope global ${3:+dev $3} | awk '{ split($4, part, "/"); print part[1]; exit }'; }

# 4|6: sets the addresses of that family, bare and as URLs have them, and the biggest payload of an echo request.
family() {
    if [ "$1" = 4 ]; then
        o='' c='' a=$a4 b=$b4 d=$d4 lan=198.51.100.2 host=198.51.100.1 loop=127.0.0.1 full=1472
    else
        o='[' c=']' a=$a6 b=$b6 d=$d6 lan=2001:db8:100::2 host=2001:db8:100::1 loop=::1 full=1452
    fi
}

# --- the machine and its LAN

echo "GUEST kernel $(uname -rv)"
echo "GUEST processors $(nproc), memory $(awk '/MemTotal/ { print $2 }' /proc/meminfo) kB, BPF JIT $(cat /proc/sys/net/core/bpf_jit_enable)"
for file in /modules/*; do
    name=$(basename "$file"); name=${name%.xz}
    case $file in *.xz) xzcat "$file" >"/tmp/$name"; file=/tmp/$name;; esac
    insmod "$file" || echo "LOG the module $name was not loaded"
done
/sbin/ip link set lo up
/sbin/ip netns add lan
on_lan /sbin/ip link set lo up
/sbin/ip link add uplink type veth peer name uplink netns lan
/sbin/ip addr add 198.51.100.1/24 dev uplink
/sbin/ip addr add 2001:db8:100::1/64 dev uplink nodad
/sbin/ip link set uplink up
on_lan /sbin/ip addr add 198.51.100.2/24 dev uplink
on_lan /sbin/ip addr add 2001:db8:100::2/64 dev uplink nodad
on_lan /sbin/ip link set uplink up
/sbin/ip route add default via 198.51.100.2
/sbin/ip -6 route add default via 2001:db8:100::2
# The kernel reports carriers at most once a second, and hears no neighbour solicitations until then.
ipv6_ready() { $1 /sbin/ip -6 route show table local dev uplink | grep -q ff00::/8; }
for where in on_host on_lan; do within 10 ipv6_ready $where; done
for f in 4 6; do
    family $f
    # Without this, what follows would blame netd for the guest's faults.
    try lan-before-netd-ping$f /sbin/ping -n -c 1 -W 5 $lan
done
programs() { bpftool prog show | grep -cE '^[0-9]+: (sched_cls|cgroup_sock_addr|cgroup_sock|sk_lookup) '; }
programs_before=$(programs)
reserved_before=$(cat /proc/sys/net/ipv4/ip_local_reserved_ports)
forwarding_before=$(cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding)

# --- the daemon

started() { kill -0 $NETD 2>/dev/null && netctl status; }
ended_or_started() { ! kill -0 $NETD 2>/dev/null || netctl status; }
# NAME: starts netd and waits until it answers; ends the guest when it does not.
start() {
    netd >>/run/netd.log 2>&1 &
    NETD=$!
    within 180 ended_or_started
    if started >/dev/null 2>&1; then
        pass "$1"
        return
    fi
    fail "$1" "$(tail -n 5 /run/netd.log)"
    # The verifier's words, of which the last ones matter.
    tail -n 60 /run/netd.log | sed 's/^/LOG /'
    ended
}

start netd-starts
status=$(netctl status)
echo "$status"
# With an MTU of its own, so that it does not follow the uplink's when that becomes narrower below.
try network-create netctl network create --ipv6 --opt com.docker.network.mtu=1500 front
try sandbox-create-a netctl sandbox create a --network front
try sandbox-create-b netctl sandbox create b --network front
try publish netctl port publish b 8080:80/tcp 8080:80/udp 9000:9000/tcp 7100:7100/udp
try internal-network-create netctl network create --ipv6 --internal shut
try sandbox-create-c netctl sandbox create c --network shut
try sandbox-create-d netctl sandbox create d --network shut
try other-network-create netctl network create --ipv6 other
try sandbox-create-e netctl sandbox create e --network other
a4=$(address_of in_a 4) a6=$(address_of in_a 6)
b4=$(address_of in_b 4) b6=$(address_of in_b 6)
d4=$(address_of in_d 4) d6=$(address_of in_d 6)
echo "addresses: a $a4 $a6, b $b4 $b6, d $d4 $d6"

# Servers: netd-probe tells whom it sees; socat gives 8 MB on one port and sends datagrams back as they came on another.
dd if=/dev/urandom of=/tmp/big bs=1M count=8 2>/dev/null
sum=$(md5sum </tmp/big)
head -c 6000 /tmp/big >/tmp/datagram
# WHERE PORT
serve() {
    $1 netd-probe serve $2 >/run/serve-$1 2>&1 &
    within 30 grep -q ready /run/serve-$1 || echo "LOG no server $1: $(cat /run/serve-$1)"
}
serve in_b 80
serve in_d 80
serve on_lan 7000
# WHERE
listen() { $1 netstat -lntu | grep -q ':9000 ' && $1 netstat -lntu | grep -q ':7100 '; }
for where in in_b on_lan; do
    $where socat -U -b 65536 TCP6-LISTEN:9000,ipv6only=0,fork OPEN:/tmp/big,rdonly &
    $where socat -b 9000 UDP6-RECVFROM:7100,ipv6only=0,fork PIPE &
    # Starting takes its time where the processor is emulated.
    within 30 listen $where || echo "LOG no server $where"
done

# WHERE tcp4|tcp6 ADDRESS:PORT: the 8 MB, whole.
fetch() { [ "$($1 socat -u -b 65536 -T 20 "$2:$3" - | md5sum)" = "$sum" ] || { echo "8 MB from $3 came otherwise"; return 1; }; }
# WHERE udp4|udp6 ADDRESS:PORT: 6,000 bytes there and back, in fragments; ends as soon as they are back.
large() { $1 socat -b 9000 -t 8 - "$2:$3,readbytes=6000" </tmp/datagram | cmp - /tmp/datagram; }

# --- every way; tried again when the daemon is dead and when it is back

# SUFFIX
ways() {
    for f in 4 6; do
        family $f
        try container-to-container-ping$f$1 in_a /sbin/ping -n -c 1 -W 5 $b
        try masquerade-ping$f$1 in_a /sbin/ping -n -c 1 -W 5 $lan
        try host-to-container-ping$f$1 /sbin/ping -n -c 1 -W 5 $b
        for p in tcp udp; do
            reach container-to-container-$p$f$1 "$o$a$c" in_a $p "$o$b$c:80"
            reach masquerade-$p$f$1 "$o$host$c" in_a $p "$o$lan$c:7000"
            reach published-$p$f$1 "$o$lan$c" on_lan $p "$o$host$c:8080"
            reach hairpin-$p$f$1 "$o$a$c" in_a $p "$o$host$c:8080"
            # It would not answer itself by its own address, so it sees its gateway.
            reach hairpin-to-itself-$p$f$1 '' in_b $p "$o$host$c:8080"
            reach loopback-to-published-$p$f$1 '' on_host $p "$o$loop$c:8080"
            reach host-to-published-$p$f$1 '' on_host $p "$o$host$c:8080"
        done
    done
}
ways ''

# --- names

try name-of-a-neighbour netctl sandbox exec a -- nslookup b

# --- sizes

# SUFFIX: 8 MB by TCP each way; the kernel makes and passes large segments (GSO).
transfers() {
    for f in 4 6; do
        family $f
        try container-to-container-8MB-$f$1 fetch in_a tcp$f "$o$b$c:9000"
        try masquerade-8MB-$f$1 fetch in_a tcp$f "$o$lan$c:9000"
        try published-8MB-$f$1 fetch on_lan tcp$f "$o$host$c:9000"
        try hairpin-8MB-$f$1 fetch in_a tcp$f "$o$host$c:9000"
        try loopback-8MB-$f$1 fetch on_host tcp$f "$o$loop$c:9000"
    done
}
transfers ''
for f in 4 6; do
    family $f
    try container-to-container-full-packet-$f in_a /sbin/ping -n -M do -c 1 -W 5 -s $full $b
    try masquerade-full-packet-$f in_a /sbin/ping -n -M do -c 1 -W 5 -s $full $lan
    try container-to-container-fragments-ping$f in_a /sbin/ping -n -c 1 -W 5 -s 6000 $b
    try masquerade-fragments-ping$f in_a /sbin/ping -n -c 1 -W 5 -s 6000 $lan
    try container-to-container-fragments-udp$f large in_a udp$f "$o$b$c:7100"
    try masquerade-fragments-udp$f large in_a udp$f "$o$lan$c:7100"
    try published-fragments-udp$f large on_lan udp$f "$o$host$c:7100"
    try hairpin-fragments-udp$f large in_a udp$f "$o$host$c:7100"
    try loopback-fragments-udp$f large on_host udp$f "$o$loop$c:7100"
done

# --- ICMP errors, and a narrower link

# TEXT WHERE ADDRESS WORDS…: ping must be told so.
told() {
    text=$1 where=$2 to=$3; shift 3
    said=$($where /sbin/ping -n -c 2 -W 3 "$@" "$to" 2>&1)
    echo "$said" >>/run/told.log
    echo "$said" | grep -qiE "$text" || { echo "no $text in: $said"; return 1; }
}
for f in 4 6; do
    family $f
    try hops-used-up-$f told 'exceeded' in_a $lan -t 1
done
/sbin/ip link set uplink mtu 1400
on_lan /sbin/ip link set uplink mtu 1400
# The daemon hears of it a moment later. Whoever tries before that is told nothing, and whoever tries twice nothing more.
sleep 2
for f in 4 6; do
    family $f
    # By the gateway; what the sender's kernel says by itself afterwards is put otherwise ("local error").
    try too-big-$f told 'from .*mtu ?= ?1400' in_a $lan -M do -s 1400
done
transfers -narrow
/sbin/ip link set uplink mtu 1500
on_lan /sbin/ip link set uplink mtu 1500

# --- isolation; each thing that must not pass is tried in the same way where it may

# NAME try|blocked WHERE ADDRESS-FAMILY ADDRESS PORT
probes() {
    $2 $1-ping$4 $3 /sbin/ping -n -c 1 -W 2 "$5"
    $2 $1-tcp$4 $3 netd-probe tcp "$o$5$c:$6" 2000
    $2 $1-udp$4 $3 netd-probe udp "$o$5$c:$6" 2000
}
on_lan /sbin/ip route add 172.16.0.0/12 via 198.51.100.1
on_lan /sbin/ip -6 route add fd00::/8 via 2001:db8:100::1
for f in 4 6; do
    family $f
    probes internal-to-itself try in_c $f $d 80
    probes internal-to-lan blocked in_c $f $lan 7000
    probes internal-to-other-network blocked in_c $f $b 80
    probes other-network-to-lan try in_e $f $lan 7000
    probes other-network-to-container blocked in_e $f $b 80
    probes lan-to-container blocked on_lan $f $b 80
done
try network-connect-e netctl network connect front e
try network-connect-c netctl network connect front c
for f in 4 6; do
    family $f
    probes connected-other-network-to-container try in_e $f $b 80
    probes connected-internal-to-lan try in_c $f $lan 7000
done
try network-disconnect-e netctl network disconnect front e
try network-disconnect-c netctl network disconnect front c
for f in 4 6; do
    family $f
    probes disconnected-other-network-to-container blocked in_e $f $b 80
    probes disconnected-internal-to-lan blocked in_c $f $lan 7000
done
try publish-one-more netctl port publish b 8082:80/tcp
for f in 4 6; do
    family $f
    reach published-late-tcp$f "$o$lan$c" on_lan tcp "$o$host$c:8082"
done
try unpublish netctl port unpublish b 8082:80/tcp
for f in 4 6; do
    family $f
    blocked unpublished-tcp$f on_lan netd-probe tcp "$o$host$c:8082" 2000
done

# --- the daemon killed, started, ended

# Connections that send a line every 20 ms until their input, which is common to all of them, ends.
mkfifo /run/held
sleep 100000 >/run/held &
INPUT=$!
HELD=''
# NAME WHERE ADDRESS:PORT
hold() {
    $2 netd-probe hold "$3" </run/held >"/run/held-$1" 2>&1 &
    HELD="$HELD $1=$!"
    within 20 grep -q connected "/run/held-$1" || fail "held-$1" "no connection to $3: $(cat "/run/held-$1")"
}
for f in 4 6; do
    family $f
    hold container-to-container-$f in_a "$o$b$c:80"
    hold masquerade-$f in_a "$o$lan$c:7000"
    hold published-$f on_lan "$o$host$c:8080"
    hold hairpin-$f in_a "$o$host$c:8080"
    hold loopback-$f on_host "$o$loop$c:8080"
done
kill -9 $NETD
wait $NETD 2>/dev/null
ways -daemon-dead
start netd-starts-again
ways -daemon-back
kill $INPUT
for held in $HELD; do
    # The wrapper's exit code is netd-probe's.
    if wait ${held##*=}; then pass "held-${held%=*}"; else fail "held-${held%=*}" "$(cat "/run/held-${held%=*}")"; fi
done
reconciled=$(netctl system reconcile 2>&1)
case $reconciled in *'Nothing to mend'*) pass nothing-to-mend;; *) fail nothing-to-mend "$reconciled";; esac
[ "$(cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding)" = "$forwarding_before" ] &&
    pass forwarding-sysctls-untouched || fail forwarding-sysctls-untouched "they changed"

# For who reads the console's file after a failure.
cat /run/told.log
netctl flows
netctl drops
netctl stats
bpftool net show
bpftool prog show

kill $NETD
if wait $NETD; then pass netd-ends; else fail netd-ends "exit code $?: $(tail -n 5 /run/netd.log)"; fi
NETD=''
# Namespaces, and the programs in them, live as long as their processes.
killall netd-probe socat 2>/dev/null

# --- nothing is left

try purge netd --purge
# NAME WHAT: what is left, if anything.
none() { [ -z "$2" ] && pass "$1" || fail "$1" "left: $2"; }
none purge-leaves-no-links "$(/sbin/ip -o link show | grep -E ': (nd-|np-|br-|netd)')"
none purge-leaves-no-pins "$(find /sys/fs/bpf/netd/default 2>/dev/null)"
none purge-leaves-no-mounts "$(grep netd /proc/mounts)"
none purge-leaves-no-files "$(find /run/netd /var/lib/netd 2>/dev/null)"
# The kernel takes a namespace down a while after its last user.
programs_gone() { [ "$(programs)" -le "$programs_before" ]; }
within 30 programs_gone
programs_gone && pass purge-leaves-no-programs || fail purge-leaves-no-programs "$(bpftool prog show | grep ' name ')"
none purge-leaves-no-attachments "$(bpftool net show | grep -E '^(lo|uplink)\(')"
[ "$(cat /proc/sys/net/ipv4/ip_local_reserved_ports)" = "$reserved_before" ] &&
    pass purge-restores-reserved-ports || fail purge-restores-reserved-ports "$(cat /proc/sys/net/ipv4/ip_local_reserved_ports)"
for f in 4 6; do
    family $f
    try lan-after-purge-ping$f /sbin/ping -n -c 1 -W 5 $lan
done

# --- what netd and the kernel said

none netd-reported-no-errors "$(grep -a ' ERROR' /run/netd.log)"
cat /run/netd.log
none kernel-reported-no-faults "$(dmesg | grep -E 'WARNING: |BUG: (unable|kernel|KASAN|sleeping)|Oops|general protection')"
dmesg
ended
