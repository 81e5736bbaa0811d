# shellcheck shell=bash disable=SC2034
# Paths of the jars and the start of a JVM, shared by the scripts of the Kafka bed.

readonly kafka_version=4.1.1 # the same as in pom.xml

kafka_source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly kafka_source
readonly cache=${MERIDIAN_CACHE:-$HOME/.cache/meridian}
readonly jars=$cache/kafka-$kafka_version

# shellcheck source=../bed/process.sh
. "$kafka_source/../bed/process.sh"

readonly jvm=(java -Xmx512m -XX:+UseSerialGC "-Dlog4j2.configurationFile=$kafka_source/log4j2.properties" -cp "$jars/*")

# A broker starts in 5 s alone; several start at once on a small machine, beside other tests.
readonly start_seconds=90
