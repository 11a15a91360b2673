"""The production records read with tf.data, to compare with: plainly and well written.

    python3 -m venv VENV && VENV/bin/pip install tensorflow && VENV/bin/python loader_peer.py --inputs GLOB ...

Answers every line `N` on standard input with one line of JSON about the next N batches: seconds, seconds of CPU and
examples. Started by compare_loaders.py.
"""

import argparse
import glob
import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import tensorflow as tf  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
SCHEMA = os.path.join(HERE, "..", "..", "configs", "home_recap_2022.segdense.json")
RENAMED = {
    "continuous": "home_recap_2022_cont__segdense_vals",
    "binary": "home_recap_2022_binary__segdense_vals",
    "discrete": "home_recap_2022_discrete__segdense_vals",
    "author_embedding": "original_author.timelines.twhin_author_follow_embeddings.twhin_author_follow_embeddings",
    "user_embedding": "user.timelines.twhin_user_follow_embeddings.twhin_user_follow_embeddings",
    "user_eng_embedding": "user.timelines.twhin_user_engagement_embeddings.twhin_user_engagement_embeddings",
    "meta__author_id": "meta.author_id",
    "meta__user_id": "meta.user_id",
    "meta__tweet_id": "meta.tweet_id",
}
TASKS = ["recap.engagement." + name for name in (
    "is_bookmarked is_favorited is_good_clicked_convo_desc_favorited_or_replied is_good_clicked_convo_desc_v2 "
    "is_negative_feedback_v2 is_profile_clicked_and_profile_engaged is_replied is_replied_reply_engaged_by_author "
    "is_report_tweet_clicked is_retweeted is_shared is_tweet_detail_dwelled_15_sec is_video_playback_50"
).split()]
CONTINUOUS, BINARY = 2117, 59
DTYPES = {"int64_list": tf.int64, "float_list": tf.float32, "bytes_list": tf.string}


def parsing_spec():
    with open(SCHEMA) as file:
        entries = {entry["feature_name"]: entry for entry in json.load(file)["schema"]}
    spec = {}
    for name in [*TASKS, *RENAMED.values()]:
        dtype, length = DTYPES[entries[name]["dtype"]], entries[name]["length"]
        if length == -1:
            spec[name] = tf.io.VarLenFeature(dtype)
        else:
            default = tf.zeros([length], dtype) if dtype != tf.string else tf.constant([""] * length)
            spec[name] = tf.io.FixedLenFeature([length], dtype, default)
    return spec


def dataset(args):
    files = sorted(glob.glob(args.inputs))
    spec = parsing_spec()

    def read(file):
        return tf.data.TFRecordDataset(file, compression_type=args.compression)

    def parse(records):
        features = tf.io.parse_example(records, spec)
        for name, key in RENAMED.items():
            features[name] = features.pop(key)
        features["continuous"] = features["continuous"][:, :CONTINUOUS]
        features["binary"] = features["binary"][:, :BINARY]
        labels = tf.concat([features.pop(task) for task in TASKS], axis=1)
        return features, labels

    data = tf.data.Dataset.from_tensor_slices(files)
    if args.cache:
        # Decoded examples are kept; every epoch has another order.
        data = data.interleave(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False, block_length=4)
        data = data.batch(args.batch, drop_remainder=True).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        data = data.unbatch().cache().shuffle(1024).repeat()
        data = data.batch(args.batch, drop_remainder=True)
    else:
        data = data.shuffle(len(files)).repeat()
        data = data.interleave(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False, block_length=4)
        data = data.shuffle(1024).batch(args.batch, drop_remainder=True)
        data = data.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    return data.prefetch(tf.data.AUTOTUNE)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", required=True)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--compression", default="GZIP", help="GZIP, or nothing")
    parser.add_argument("--cache", action="store_true")
    args = parser.parse_args()

    batches = iter(dataset(args))
    for line in sys.stdin:
        begin, cpu, examples = time.perf_counter(), time.process_time(), 0
        for _ in range(int(line)):
            features, _ = next(batches)
            examples += int(features["continuous"].shape[0])
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "examples": examples}), flush=True)


if __name__ == "__main__":
    main()
