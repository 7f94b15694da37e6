#!/bin/bash
# Makes the artefacts that data/ keeps. Run it with the first edition (commit 8604f37), as root, in an empty folder:
#
#     EARWITNESS="python -m ..." bash make.sh STUDIES
#
# STUDIES is the folder with half.toml and watch.toml. Everything is made in the working folder, by relative names, so
# that no record holds a path of the machine. The lab is real: namespaces, tor, OpenVPN. Takes about three minutes.
set -euo pipefail
STUDIES=$1
EARWITNESS=${EARWITNESS:-earwitness}
export EARWITNESS_RUNTIME=$PWD/runtime COLUMNS=200
cp "$STUDIES"/half.toml "$STUDIES"/watch.toml .

# Starts the command, waits until its messages hold a text so many times, kills it with a signal.
until_said() { # SIGNAL COUNT TEXT COMMAND...
  local signal=$1 count=$2 text=$3 messages=$PWD/messages found=0
  shift 3
  : > "$messages"
  "$@" > /dev/null 2> "$messages" &
  local process=$!
  while [ "$found" -lt "$count" ] && kill -0 "$process" 2> /dev/null; do
    sleep 0.1
    found=$(grep -c "$text" "$messages" || true)
  done
  sleep "${AFTER:-0}"
  kill "-$signal" "$process"
  wait "$process" || true
}

pack() { XZ_OPT=-9e tar --sort=name -cJf "$1.tar.xz" "$1"; }

# -- calls: a data set of calls placed one by one. Two of them fail, on purpose.
$EARWITNESS lab up
call() { $EARWITNESS call --seconds 4 --to London --out calls "$@" || [ $? = 3 ]; }
call --path direct --codec g711a --throughput
call --path tor --codec g711a
call --path vpn --codec speex --security static
call --path tor --hops 2 --guard Paris --codec opus:24000,fec=1 --link jitter=20,loss=0.03 --silence-suppression --seed 2
call --path tcp --codec gsm --buffer pjmedia --seed 3
call --path tor --codec gsm --inject kill-middle@2 --seed 4
call --path direct --codec gsm --inject callee-absent --seed 5
$EARWITNESS lab down

# -- half: a study killed while its last call was on the air, and two others waited for their second attempts.
AFTER=3 until_said KILL 5 "^[0-9]*/6 " $EARWITNESS study run half.toml --out half --no-report
pack half

# -- watch: one block of a watch, ended by Ctrl-C.
until_said INT 1 " block, " $EARWITNESS watch watch.toml --out watch --metrics 127.0.0.1:0

# -- bundles: of the watch's day, plain; of the half-run study, with pseudonyms and without sound.
$EARWITNESS bundle watch/20* --out plain.tar.gz
$EARWITNESS bundle half --pseudonyms --no-audio --out pseudonyms.tar.gz

# -- captures and recordings as others have them, and the data set that they were imported into.
mkdir -p captures
cp calls/calls/tcp-gsm-*/callee.pcap captures/tcp-gsm.pcap
cp calls/calls/tcp-gsm-*/to_callee.wav captures/tcp-gsm.wav
cp calls/calls/vpn-speex-*/caller.pcap captures/vpn-speex.pcap
cp calls/calls/vpn-speex-*/to_caller.wav captures/vpn-speex.wav
$EARWITNESS import captures --copy --reference calls/calls/tcp-gsm-*/reference.wav --out imported

# -- a what-if of the calls, killed half-way.
cp -r calls calls-before
$EARWITNESS whatif calls --buffer fixed:60 --buffer fixed:200 --buffer adaptive > /dev/null 2>&1 &
process=$!
until [ "$(cat calls/whatif/*.jsonl 2> /dev/null | wc -l)" -ge 4 ]; do sleep 0.02; done
kill -KILL "$process"
wait "$process" || true
mkdir -p half-whatif
mv calls/whatif half-whatif/whatif

# -- packed: a file an artefact. calls-before is calls as it was before the what-if.
rm -r calls
mv calls-before calls
for name in calls watch captures imported; do pack "$name"; done
XZ_OPT=-9e tar -C half-whatif -cJf whatif.tar.xz whatif
