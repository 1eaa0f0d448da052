# Why: what is published is named once, for every gate that goes through it. The scripts source this from the top of the tree.
# ci/package.sh --list holds the list against the manifests.

# In the order in which they are published: each after what it depends on. A package's folder in crates/ has its name.
# shellcheck disable=SC2034 # used by who sources this
PACKAGES=(asymmetric-barrier shadow-vars livepatch-macros livepatch livepatch-cli)
