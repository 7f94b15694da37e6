"""The emulated wide-area network between the lab's hosts, packet by packet, and its log of every packet's fate."""
