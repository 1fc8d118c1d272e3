#!/bin/sh
# Answer a file of prompts with curl and jq: upload, create, poll, download.
#
#   export OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=bw_...    # both from `batchwright up`
#   sh batch.sh prompts.jsonl answers.jsonl
set -eu

prompts=$1 answers=$2
call() { curl --silent --show-error --fail-with-body --header "Authorization: Bearer $OPENAI_API_KEY" "$@"; }

file=$(call "$OPENAI_BASE_URL/files" --form purpose=batch --form "file=@$prompts" | jq -r .id)
batch=$(call "$OPENAI_BASE_URL/batches" --header "Idempotency-Key: answers-of-$file" --json "{
  \"input_file_id\": \"$file\", \"endpoint\": \"/v1/chat/completions\", \"completion_window\": \"24h\"}" | jq -r .id)
while :; do
  now=$(call "$OPENAI_BASE_URL/batches/$batch")
  status=$(echo "$now" | jq -r .status)
  case $status in completed | failed | expired | cancelled) break ;; esac
  sleep 1
done
echo "$now" | jq -r '.errors.data[]? | "line \(.line): \(.message)"' >&2
for kind in output error; do
  id=$(echo "$now" | jq -r ".${kind}_file_id // empty")
  [ -z "$id" ] && continue
  [ $kind = output ] && path=$answers || path=$answers.errors
  call "$OPENAI_BASE_URL/files/$id/content" --output "$path"
done
echo "$batch $status $(echo "$now" | jq -c .request_counts)"
[ "$status" = completed ]
