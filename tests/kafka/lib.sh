# shellcheck shell=bash disable=SC2034
# What the scripts of the Kafka bed share: where the jars are, how a JVM is started.

readonly kafka_version=4.1.1 # the same as in pom.xml

kafka_source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly kafka_source
readonly cache=${MERIDIAN_CACHE:-$HOME/.cache/meridian}
readonly jars=$cache/kafka-$kafka_version

# shellcheck source=../bed/process.sh
. "$kafka_source/../bed/process.sh"

readonly jvm=(java -Xmx512m -XX:+UseSerialGC "-Dlog4j2.configurationFile=$kafka_source/log4j2.properties" -cp "$jars/*")

# Several brokers start at once on a small machine, beside other tests; alone it takes 5 seconds.
readonly start_seconds=90
