#!/bin/sh
# A Debian without Python, as the image NAME, where no image registry can be reached: what tests/deploy/test_image.py builds on.
#
#   scripts/make_base_image.sh NAME
set -eu
name=$1
podman image exists "$name" && exit
tar=$(mktemp --suffix=.tar)
trap 'rm -f "$tar"' EXIT
mmdebstrap --quiet --variant=minbase bookworm "$tar"
podman import --quiet "$tar" "$name"
