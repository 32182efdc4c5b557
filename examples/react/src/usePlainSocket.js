import { useCallback, useEffect, useRef, useState } from 'react';

/** A plain WebSocket as a hook, without agentws: it sends text, and receives objects with a `content`. */
export function usePlainSocket(url) {
  const socket = useRef(null);
  const [messages, setMessages] = useState([]);
  const [connected, setConnected] = useState(false);

  useEffect(() => {
    const opened = new WebSocket(url);
    socket.current = opened;
    opened.addEventListener('open', () => setConnected(true));
    opened.addEventListener('close', () => setConnected(false));
    opened.addEventListener('message', ({ data }) => {
      setMessages((known) => [...known, JSON.parse(data)]);
    });
    return () => opened.close();
  }, [url]);

  const sendMessage = useCallback((text) => {
    if (socket.current?.readyState === WebSocket.OPEN) socket.current.send(text);
  }, []);

  return { messages, connected, sendMessage };
}
