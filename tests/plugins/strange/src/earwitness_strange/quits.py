import sys

sys.exit("this module ends\nwhoever imports it")
