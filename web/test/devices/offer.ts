/** An offer with one data channel, as Chromium writes it. */
export const OFFER = `v=0
o=- 2025643493598879868 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
a=extmap-allow-mixed
a=msid-semantic: WMS
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=candidate:3708874544 1 udp 2113937151 0316bf38-e093-4ee1-8916-136541ea3e1b.local 49307 typ host generation 0 network-cost 999
a=candidate:3663889280 1 udp 2113942271 fd00::2 53929 typ host generation 0 network-cost 999
a=candidate:1 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active generation 0
a=candidate:842163049 1 udp 1677729535 203.0.113.7 40001 typ srflx raddr 192.0.2.7 rport 40001 generation 0
a=ice-ufrag:li5D
a=ice-pwd:CSoUGP3oI3LI+fquD9RDCn3l
a=ice-options:trickle
a=fingerprint:sha-256 F2:7C:BD:6D:D9:19:BD:47:A5:23:97:A6:80:30:6B:CB:8C:CA:32:68:40:F1:9C:04:67:2D:BF:6B:39:05:5F:69
a=setup:actpass
a=mid:0
a=sctp-port:5000
a=max-message-size:262144
`;
