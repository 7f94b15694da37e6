"""The wide-area network between the lab's hosts, packet by packet, and its log of what became of each."""
