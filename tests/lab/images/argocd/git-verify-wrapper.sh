#!/bin/sh
# git-verify-wrapper.sh REVISION: what gpg says of the signature of a commit, or of an annotated tag; nothing without one.
kind=commit
[ "$(git cat-file -t "${1:?name a revision}")" != tag ] || kind=tag
said=$(git "verify-$kind" "$1" 2>&1) || [ $? -eq 1 ] || {
  echo "$said" >&2
  exit 2
}
case $kind:$said in
  tag:error:*) ;;
  *) printf '%s\n' "$said" ;;
esac
