#!/bin/sh
# Makes the image NAME, a Debian without Python, where no image registry can be reached. tests/deploy/test_image.py
# builds on this image.
#
#   scripts/make_base_image.sh NAME
set -eu
name=$1
podman image exists "$name" && exit
tar=$(mktemp --suffix=.tar)
trap 'rm -f "$tar"' EXIT
mmdebstrap --quiet --variant=minbase bookworm "$tar"
podman import --quiet "$tar" "$name"
